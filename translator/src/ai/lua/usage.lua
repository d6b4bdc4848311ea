-- Counts the tokens of an answer and keeps what they cost, under the names that the route's orders list. The answer passes
-- untouched and unheld.
--
-- The usage that a server reports is exact. A stream that has reported none yet is counted by its events, a token each, so
-- that whoever hangs up has paid for what came; an answer without any usage is counted by its length.
local NS = 'io.envoy.ai_gateway'
local MOST = 1000000000
-- Bytes of text that make a token, roughly.
local BYTES = 4

local helpers = {
  uint = function(n) if n < 0 then error('below 0') end return floor(n) end,
  int = function(n)
    if n ~= n or n == math.huge or n == -math.huge then error('no number') end
    return n < 0 and -floor(-n) or floor(n)
  end,
  rest = function(a, b) if b == 0 then error('by 0') end return math.fmod(a, b) end,
  starts = function(s, p) return sub(s, 1, #p) == p end,
  ends = function(s, p) return p == '' or sub(s, -#p) == p end,
  contains = function(s, p) return find(s, p, 1, true) ~= nil end,
}

local programs, count = {}, 0
local function program(text)
  local made = programs[text]
  if not made then
    if count > 1000 then programs, count = {}, 0 end
    made = loadstring(text)()
    programs[text] = made
    count = count + 1
  end
  return made
end

local FIELDS = {
  prompt_tokens = true, completion_tokens = true, total_tokens = true, input_tokens = true, output_tokens = true,
  prompt_tokens_details = true, input_tokens_details = true, completion_tokens_details = true,
  output_tokens_details = true, cache_read_input_tokens = true, cache_creation_input_tokens = true, tokens = true,
  billed_units = true,
}
local CACHED, REASONED = { cached_tokens = true }, { reasoning_tokens = true }

local function number_at(s, place)
  local n = place and tonumber(sub(s, place[1], place[2]))
  return n and n >= 0 and floor(n) or nil
end

local function detail(s, place, want, name)
  if not place or byte(s, place[1]) ~= 123 then return nil end
  local inner = sub(s, place[1], place[2])
  local found = scan(inner, want)
  return found and number_at(inner, found[name])
end

-- Takes a usage object into `u`; what it leaves out keeps what was known. Whether it was one.
local function take(s, u)
  local found = scan(s, FIELDS)
  if not found then return false end
  local inner = found.tokens or found.billed_units
  if inner and byte(s, inner[1]) == 123 then return take(sub(s, inner[1], inner[2]), u) end
  local function n(name) return number_at(s, found[name]) end
  u.input = n('prompt_tokens') or n('input_tokens') or u.input
  u.output = n('completion_tokens') or n('output_tokens') or u.output
  u.total = n('total_tokens') or u.total
  u.cached = detail(s, found.prompt_tokens_details or found.input_tokens_details, CACHED, 'cached_tokens') or u.cached
  u.reasoning = detail(s, found.completion_tokens_details or found.output_tokens_details, REASONED, 'reasoning_tokens')
    or u.reasoning
  -- Anthropic counts the cached part of a prompt apart.
  u.read = n('cache_read_input_tokens') or u.read
  u.creation = n('cache_creation_input_tokens') or u.creation
  u.apart = u.apart or (found.cache_read_input_tokens or found.cache_creation_input_tokens) ~= nil
  return true
end

local TOP = { usage = true, meta = true, response = true, message = true, delta = true }
local USAGE = { usage = true }

-- The usage of a body or of an event, which may stand one level down. Whether there was one.
local function take_from(s, u, inside)
  local found = scan(s, TOP)
  if not found then return false end
  local place = found.usage
  if place and byte(s, place[1]) == 123 then return take(sub(s, place[1], place[2]), u) end
  for _, name in ipairs(inside) do
    place = found[name]
    if place and byte(s, place[1]) == 123 then
      local inner = sub(s, place[1], place[2])
      if name == 'meta' then return take(inner, u) end
      local below = scan(inner, USAGE)
      place = below and below.usage
      if place and byte(inner, place[1]) == 123 then return take(sub(inner, place[1], place[2]), u) end
    end
  end
  return false
end

-- The only usage of a body, where it stands at the top with nothing but plain fields behind it, which is usual: what stands
-- before it is not looked at then. Nothing where a look at the whole body has to tell.
local function plain_usage(s)
  local q, e = find(s, '"usage"', 1, true)
  if not q or find(s, '"usage"', e, true) then return nil end
  local p, c = past_space(s, e + 1)
  if c ~= 58 then return nil end
  local first, last = find(s, '^%b{}', (past_space(s, p + 1)))
  if not first then return nil end
  p, c = past_space(s, last + 1)
  while c == 44 do
    p, c = past_space(s, p + 1)
    local key = c == 34 and string_end(s, p)
    if not key then return nil end
    p, c = past_space(s, key + 1)
    if c ~= 58 then return nil end
    p, c = past_space(s, p + 1)
    local value = c and (c == 34 and string_end(s, p) or scalar_end(s, p, c))
    if not value then return nil end
    p, c = past_space(s, value + 1)
  end
  local _, rest = past_space(s, p + 1)
  return c == 125 and not rest and sub(s, first, last) or nil
end

-- The usage of a whole answer. Whether there was one.
local function take_whole(s, u)
  local usage = plain_usage(s)
  if usage and take(usage, u) then return true end
  if not find(s, '"usage"', 1, true) and not find(s, '"meta"', 1, true) then return false end
  return take_from(s, u, { 'meta' })
end

-- What is noted where there is some: a table costs what its entries do.
local SELDOM = { 'cached', 'creation', 'reasoning' }

local function costs(h, made, u, more, context)
  local input, output = u.input or 0, (u.output or 0) + more
  if u.apart then input = input + (u.read or 0) + (u.creation or 0) end
  local whole = {
    input = input, output = output, total = u.total and u.total + more or input + output,
    cached = u.cached or u.read or 0, creation = u.creation or 0, reasoning = u.reasoning or 0,
  }
  local metadata = h:streamInfo():dynamicMetadata()
  local noted = { input = input, output = output, total = whole.total }
  for _, name in ipairs(SELDOM) do
    if whole[name] ~= 0 then noted[name] = whole[name] end
  end
  metadata:set('chancery.ai', 'tokens', noted)
  for _, entry in ipairs(made) do
    local good, cost = pcall(entry[2], whole, context, helpers)
    if good and cost == cost and cost >= 0 then metadata:set(NS, entry[1], cost < MOST and floor(cost) or MOST) end
  end
end

-- Where a new token begins, by the end of the path.
local MARKS = { ['/messages'] = 'content_block_delta\n', ['/responses'] = '.delta\n' }

-- How many tokens begin within a text.
local function tokens_in(s, from, to, mark)
  local n, p = 0, from
  while true do
    local q, e = find(s, mark or 'data:', p, true)
    if not q or q > to then return n end
    if mark then
      n = n + 1
    else
      local c = byte(s, e + 1)
      if c == 32 then c = byte(s, e + 2) end
      if c == 123 then n = n + 1 end
    end
    p = e + 1
  end
end

local IN_EVENTS = { 'response', 'message', 'delta' }

-- The usage of the events that are complete by `to`. How many tokens came after the last one of them, if there was one.
local function usage_in(s, to, u, mark)
  local p, since = 1, nil
  while true do
    local q, e = find(s, '"usage"', p, true)
    if not q or q > to then break end
    p = e + 1
    local colon = find(s, '[^%s]', p)
    local opens = colon and byte(s, colon) == 58 and find(s, '[^%s]', colon + 1)
    if opens and byte(s, opens) == 123 then
      local first = q
      while first > 1 and byte(s, first - 1) ~= 10 do first = first - 1 end
      local last = find(s, '\n', q, true)
      local text = string.match(sub(s, first, last - 1), '^data:%s*(.*)$')
      if text and take_from(text, u, IN_EVENTS) then since = tokens_in(s, last + 1, to, mark) end
      p = last + 1
    end
  end
  return since
end

local EXTRA = { usage = true, choices = true }
-- A part of an event that is held until the rest of it comes, at most.
local HELD = 1048576

-- Whether an event is nothing but the usage that was asked for in the client's place.
local function is_extra(s, first, last)
  local text = string.match(sub(s, first, last), '^data:%s*(.*)$')
  local found = text and scan(text, EXTRA)
  if not found or not found.usage or not found.choices then return false end
  return byte(text, found.usage[1]) == 123 and find(text, '^%[%s*%]', found.choices[1]) ~= nil
end

-- Whole events without the extra one.
local function without_extra(s)
  local parts, from, p = nil, 1, 1
  while true do
    local q, e = find(s, '"usage"', p, true)
    if not q then break end
    p = e + 1
    local first, last = q, find(s, '\n', q, true)
    while first > 1 and byte(s, first - 1) ~= 10 do first = first - 1 end
    if last and is_extra(s, first, last - 1) then
      local _, blank = find(s, '^\r?\n', last + 1)
      parts = parts or {}
      parts[#parts + 1] = sub(s, from, first - 1)
      from = (blank or last) + 1
      p = from
    end
  end
  if not parts then return s end
  parts[#parts + 1] = sub(s, from)
  return table.concat(parts)
end

-- What a client that asked for no usage is sent of a piece of a stream, and what of it is held back: the beginning of an
-- event, which nobody could read yet. Whatever cannot become the extra event is held no longer.
local function passed_on(held, s)
  if held then s = held .. s end
  local blank = #s
  while blank > 0 and not (byte(s, blank) == 10 and (byte(s, blank - 1) == 10 or sub(s, blank - 2, blank - 1) == '\n\r')) do
    blank = blank - 1
  end
  local _, whole = find(s, '^[\r\n]*', blank + 1)
  local tail = sub(s, whole + 1)
  if tail == '' or #tail > HELD or not find(tail, '^da?t?a?:?%s*$') and not find(tail, '^data:%s*{') then
    return without_extra(sub(s, 1, whole)) .. tail, nil
  end
  return without_extra(sub(s, 1, whole)), tail
end

local function stream(h, made, context, kept)
  local extra = kept.asks_usage == true and h:headers():get('content-length') == nil
  local held
  local mark = MARKS[kept.request or '']
  local u, more, known, rest, due = { input = kept.asked_input }, 0, false, nil, 1
  local first, last
  for chunk in h:bodyChunks() do
    local n = chunk:length()
    if n > 0 then
      local s = chunk:getBytes(0, n)
      if extra then
        local sent
        sent, held = passed_on(held, s)
        if sent ~= s then chunk:setBytes(sent) end
      end
      last = h:timestamp()
      first = first or last
      if rest then s = rest .. s end
      local to = #s
      while to > 0 and byte(s, to) ~= 10 do to = to - 1 end
      rest = to < #s and sub(s, to + 1) or nil
      if to > 0 then
        local since = usage_in(s, to, u, mark)
        if since then
          known, more, due = true, since, 0
        else
          more = more + tokens_in(s, 1, to, mark)
        end
        if more >= due then
          costs(h, made, u, more, context)
          due = more + math.max(8, floor(more / 8))
        end
      end
    end
  end
  -- At a clean end, the last usage of a server that reports any is all there was.
  more = (known and not mark) and 0 or more
  costs(h, made, u, more, context)
  local tokens = (u.output or 0) + more
  if tokens > 1 then
    h:streamInfo():dynamicMetadata():set('chancery.ai', 'pace', floor((last - first) * 1000 / (tokens - 1)))
  end
end

local function whole(h, made, context, kept)
  local parts = {}
  for chunk in h:bodyChunks() do
    local n = chunk:length()
    if n > 0 then parts[#parts + 1] = chunk:getBytes(0, n) end
  end
  local s, u = #parts == 1 and parts[1] or table.concat(parts), {}
  if take_whole(s, u) then return costs(h, made, u, 0, context) end
  u.input = kept.asked_input
  costs(h, made, u, floor(#s / BYTES), context)
end

-- Requests that make a server count, and nothing else.
local FREE = { ['/messages/count_tokens'] = true, ['/responses/input_tokens'] = true, ['/../tokenize'] = true }

function envoy_on_response(h)
  local orders = h:metadata():get('costs')
  if orders == nil then return end
  local headers = h:headers()
  local status = tonumber(headers:get(':status')) or 0
  if status < 200 or status >= 300 then return end
  local kept = h:streamInfo():dynamicMetadata():get('chancery.ai') or {}
  local made = program(orders)
  local context = { model = kept.model or '', backend = kept.backend or '', route = h:metadata():get('route') or '' }
  local content_type = headers:get('content-type') or ''
  if FREE[kept.request or ''] then
    for _, entry in ipairs(made) do h:streamInfo():dynamicMetadata():set(NS, entry[1], 0) end
    return
  end
  if find(content_type, 'text/event-stream', 1, true) then return stream(h, made, context, kept) end
  if find(content_type, 'json', 1, true) then return whole(h, made, context, kept) end
  costs(h, made, { input = kept.asked_input }, 0, context)
end
