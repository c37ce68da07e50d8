-- Takes the traffic from a site that fails while another one can carry it.
--
-- HAProxy's `observe layer7` would not do: it does not see an answer that `retry-on` sends on to
-- the next site, so a site that fails every idempotent request stays up; and it marks even the last
-- usable server down, which turns a few errors into an outage. Attempts are read from the servers'
-- counters instead. A server is forced down after STRIKES failed attempts that were not
-- outnumbered by good answers, held down for HOLD_MS, then left to its health checks.
-- A server that someone sets up by hand meanwhile (`set server ... health up`) is let go at once.

local POLL_MS = 50
local STRIKES = 5

-- The relief process gives back what it cannot answer: that is no failure, and no site depends on it.
local RELIEF = "_relief"
local HOLD_MS = tonumber((...))

-- Down for refused connections (`observe layer4`), not for its health checks. With nowhere else to go it is
-- tried again at once: its checks alone would bring it back only after two seconds.
local REFUSED = "HANA"

local known = {}

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + now.usec // 1000
end

local function usable(stats)
  return string.sub(stats.status, 1, 2) == "UP"
end

-- Failed attempts and good answers since the last look. A retry elsewhere counts as `wretr` and
-- `wredis`, one on the same server as `wretr`, a refused connection as `wredis`.
local function progress(record, stats)
  local failed = math.max(stats.wretr, stats.wredis) + stats.hrsp_5xx + stats.eresp
  local good = stats.hrsp_2xx + stats.hrsp_3xx + stats.hrsp_4xx
  local new_failed, new_good = failed - record.failed, good - record.good
  record.failed, record.good = failed, good
  return new_failed, new_good
end

local function eject(server, record)
  record.strikes = 0
  record.back_at = now_ms() + HOLD_MS
  server:check_force_down()
end

local function hold(server, record, stats, others_up)
  if usable(stats) or now_ms() >= record.back_at then
    record.back_at = nil
  elseif others_up == 0 then
    record.back_at = nil
    server:check_force_up()
  else
    server:check_force_down()
  end
end

local function judge(server, record, stats, others_up)
  local failed, good = progress(record, stats)
  if record.back_at then
    hold(server, record, stats, others_up)
    return
  end
  if good > 0 and good >= failed then
    record.strikes = 0
  else
    record.strikes = record.strikes + failed
  end
  if record.strikes >= STRIKES and usable(stats) and others_up > 0 then
    eject(server, record)
  elseif stats.check_status == REFUSED and others_up == 0 then
    server:check_force_up()
  end
end

local function sweep(backend_name, backend)
  local sites, stats, up = {}, {}, 0
  for name, server in pairs(backend.servers) do
    if name ~= RELIEF then
      sites[name], stats[name] = server, server:get_stats()
      up = up + (usable(stats[name]) and 1 or 0)
    end
  end
  for name, server in pairs(sites) do
    local id = backend_name .. "/" .. name
    known[id] = known[id] or { failed = 0, good = 0, strikes = 0 }
    local was_up = usable(stats[name])
    judge(server, known[id], stats[name], up - (was_up and 1 or 0))
    if was_up and known[id].back_at then
      up = up - 1
    end
  end
end

core.register_task(function()
  while true do
    core.msleep(POLL_MS)
    for name, backend in pairs(core.backends) do
      sweep(name, backend)
    end
  end
end)
