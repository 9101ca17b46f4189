"""The atomic steps, in Lua. All keys a script touches are its arguments, and of one project.

`COMMIT` compares where the project stands with where the change was worked out, and does all of it
or nothing. Its operations are one MessagePack array, because ten thousand arguments take a client
long to write; four items each - name, index into KEYS, two operands:

    set field value      remove field ""      keep entry oldest_ms      bury entry ttl_s
    blob field argument

`keep` puts an entry, which begins with its time in Unix milliseconds, at the head of a history and
drops what is beyond its bounds; `bury` does so for a flag that is gone, and lets the list expire.
`blob` sets a field to one of the arguments that follow the operations: a long list of units is tens
of megabytes, which nobody should have to copy into an array, and read out of it.
"""

__all__ = ["COMMIT", "CREATE", "RENEW", "SETTLE", "TRIM_AUDIT"]

COMMIT = """
local meta, changes, audit = KEYS[1], KEYS[2], KEYS[3]
local at = redis.call('HMGET', meta, 'epoch', 'sequence', 'head')
if at[1] ~= ARGV[1] or at[2] ~= ARGV[2] or at[3] ~= ARGV[3] then
  return 0
end
local sequence = ARGV[4]
-- First, because only this can fail, and what a script wrote before it failed stays written.
redis.call('XADD', changes, 'MAXLEN', '~', ARGV[8], sequence .. '-0', 'change', ARGV[6])
redis.call('XADD', audit, '*',
  'sequence', sequence, 'previous', ARGV[3], 'head', ARGV[5], 'entry', ARGV[7])
redis.call('HSET', meta, 'sequence', sequence, 'head', ARGV[5])
local versions = tonumber(ARGV[9])
local ops = cmsgpack.unpack(ARGV[10])
for i = 1, #ops, 4 do
  local op, key, a, b = ops[i], KEYS[ops[i + 1]], ops[i + 2], ops[i + 3]
  if op == 'set' then
    redis.call('HSET', key, a, b)
  elseif op == 'blob' then
    redis.call('HSET', key, a, ARGV[10 + b])
  elseif op == 'remove' then
    redis.call('HDEL', key, a)
  else
    redis.call('LPUSH', key, a)
    redis.call('LTRIM', key, 0, versions - 1)
    if op == 'bury' then
      redis.call('EXPIRE', key, b)
    else
      redis.call('PERSIST', key)
      local length = redis.call('LLEN', key)
      while length > 1 do
        local oldest = redis.call('LINDEX', key, -1)
        if tonumber(string.match(oldest, '^%d+')) >= b then break end
        redis.call('RPOP', key)
        length = length - 1
      end
    end
  end
end
return 1
"""
"""KEYS: meta, changes, audit, then those the operations name. ARGV: epoch, sequence, head it was
made for; new sequence, new head; change; audit entry; bounds of changes and history; the
operations; blobs. Returns 1 done, 0 the project stands elsewhere."""

CREATE = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local meta = {}
for i = 1, tonumber(ARGV[1]) * 2 do
  meta[i] = ARGV[i + 1]
end
redis.call('HSET', KEYS[1], unpack(meta))
for i = tonumber(ARGV[1]) * 2 + 3, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
redis.call('XADD', KEYS[3], '*', 'sequence', '1', 'previous', string.rep('0', 64),
  'head', redis.call('HGET', KEYS[1], 'head'), 'entry', ARGV[tonumber(ARGV[1]) * 2 + 2])
return 1
"""
"""KEYS: meta, environments, audit. ARGV: number of meta's fields, fields and values, audit entry,
then environments and records. Returns 1 done, 0 the project was there."""

RENEW = """
local at = redis.call('HMGET', KEYS[1], 'epoch', 'sequence', 'head')
if at[1] ~= ARGV[1] or at[2] ~= ARGV[2] or at[3] ~= ARGV[3] then
  return 0
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[4], 'sequence', ARGV[5], 'head', ARGV[6])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 13) == 'published_at:' then
    redis.call('HSET', KEYS[1], field, ARGV[9])
  end
end
-- Of a log that reaches further than the data no entry can be added to: it starts anew.
redis.call('DEL', KEYS[2])
redis.call('XADD', KEYS[2], ARGV[5] .. '-0', 'change', ARGV[7])
redis.call('XADD', KEYS[3], '*',
  'sequence', ARGV[5], 'previous', ARGV[3], 'head', ARGV[6], 'entry', ARGV[8])
return 1
"""
"""KEYS: meta, changes, audit. ARGV: epoch, sequence and head that were seen, and the new ones;
change, audit entry, when all environments are published anew. Returns 1 done, 0 the project stands
elsewhere."""

TRIM_AUDIT = """
if (redis.call('HGET', KEYS[1], 'audit_checkpoint') or '') ~= ARGV[1] then
  return -1
end
redis.call('HSET', KEYS[1], 'audit_checkpoint', ARGV[2])
return redis.call('XTRIM', KEYS[2], 'MINID', ARGV[3])
"""
"""KEYS: meta, audit. ARGV: the checkpoint that was seen, or nothing; the new one; the id of the
first entry that stays. Returns how many were removed, -1 when the checkpoint is another."""

SETTLE = """
local at = redis.call('HMGET', KEYS[1], 'epoch', 'sequence', 'head')
if at[1] ~= ARGV[1] or at[2] ~= ARGV[2] or at[3] ~= ARGV[3] then
  return 0
end
redis.call('HSET', KEYS[1], 'epoch', at[1])
return 1
"""
"""KEYS: meta. ARGV: epoch, sequence and head that it is about; 0 when it stands elsewhere.

Writes what is there: replicas are waited for up to what a connection wrote last, and one that finds
a step done by another connection has written nothing."""
