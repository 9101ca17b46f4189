-- Sends the lines of the file named by the first argument in turn, and prints one line of JSON.
-- Requests are formatted once, at the start: wrk on one core must be faster than the server.

local requests = {}
local number = 0

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for line in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format(nil, nil, nil, line)
  end
end

function request()
  number = number % #requests + 1
  return requests[number]
end

function done(summary, latency)
  local errors = summary.errors
  local wrong = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"wrong":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration / 1e6, wrong,
    latency:percentile(50), latency:percentile(99)))
end
