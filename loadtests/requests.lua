-- Sends the requests of a file in turn, and prints one line of JSON (`loadtests.load`).
--
--     wrk ... -s requests.lua URL -- FILE STATUS
--
-- The file has each request's length in bytes on a line and then its bytes, so that they are
-- formatted once, before the clock runs: wrk on one core must be faster than the server.

local requests = {}
local number = 0
local expected
local threads = {}
unexpected = 0 -- global, for `done` to read

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  expected = tonumber(args[2])
  local length = file:read("*l")
  while length do
    requests[#requests + 1] = file:read(tonumber(length))
    length = file:read("*l")
  end
  file:close()
end

function request()
  number = number % #requests + 1
  return requests[number]
end

function response(status)
  if status ~= expected then
    unexpected = unexpected + 1
  end
end

function done(summary, latency)
  local errors = summary.errors
  local wrong = errors.connect + errors.read + errors.write + errors.timeout
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("unexpected")
  end
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"wrong":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration / 1e6, wrong,
    latency:percentile(50), latency:percentile(99)))
end
