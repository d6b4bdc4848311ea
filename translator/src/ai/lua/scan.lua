-- Finds fields at the top of a JSON object without building anything of it: the body is forwarded byte for byte.
-- The structure is checked as a whole. Inside strings that nobody asked for, only their end is looked for: plain searches
-- are what makes a long prompt cheap, and what is wrong in there is the server's to refuse.
local byte, sub, find, char, floor = string.byte, string.sub, string.find, string.char, math.floor
local DEPTH = 127

local function past_space(s, p)
  local c = byte(s, p)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    p = p + 1
    c = byte(s, p)
  end
  return p, c
end

-- The closing quote of the string that opens at i.
local function string_end(s, i)
  local p = i + 1
  while true do
    local q = find(s, '"', p, true)
    if not q then return nil end
    if byte(s, q - 1) ~= 92 then return q end
    -- Two backslashes are seldom, so that what most prompts need stays a straight line for the compiler.
    if byte(s, q - 2) == 92 then
      local k = q - 3
      while byte(s, k) == 92 do k = k - 1 end
      if (q - 1 - k) % 2 == 0 then return q end
    end
    p = q + 1
  end
end

local function digits_end(s, p)
  local c = byte(s, p)
  if not c or c < 48 or c > 57 then return nil end
  repeat
    p = p + 1
    c = byte(s, p)
  until not c or c < 48 or c > 57
  return p
end

-- The last byte of the number, or of true, false, null, that starts at p.
local function scalar_end(s, p, c)
  if c == 116 then return sub(s, p, p + 3) == 'true' and p + 3 or nil end
  if c == 102 then return sub(s, p, p + 4) == 'false' and p + 4 or nil end
  if c == 110 then return sub(s, p, p + 3) == 'null' and p + 3 or nil end
  if c == 45 then p = p + 1 end
  local q = byte(s, p) == 48 and p + 1 or digits_end(s, p)
  if not q then return nil end
  if byte(s, q) == 46 then
    q = digits_end(s, q + 1)
    if not q then return nil end
  end
  local e = byte(s, q)
  if e == 101 or e == 69 then
    local sign = byte(s, q + 1)
    q = digits_end(s, (sign == 43 or sign == 45) and q + 2 or q + 1)
    if not q then return nil end
  end
  return q - 1
end

local function utf8(code)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xC0 + floor(code / 0x40), 0x80 + code % 0x40) end
  if code < 0x10000 then
    return char(0xE0 + floor(code / 0x1000), 0x80 + floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
  end
  return char(0xF0 + floor(code / 0x40000), 0x80 + floor(code / 0x1000) % 0x40, 0x80 + floor(code / 0x40) % 0x40,
    0x80 + code % 0x40)
end

local ESCAPES = { ['"'] = '"', ['\\'] = '\\', ['/'] = '/', b = '\b', f = '\f', n = '\n', r = '\r', t = '\t' }

local function follows(c) return c and c >= 0x80 and c <= 0xBF end

-- Whether readers who leave out what is no character would all see the same.
local function is_utf8(s)
  local p = find(s, '[\128-\255]')
  while p do
    local a, b, c, d = byte(s, p, p + 3)
    if not follows(b) or a < 0xC2 or a > 0xF4 then return false end
    local size = 2
    if a >= 0xE0 then
      if not follows(c) or a == 0xE0 and b < 0xA0 or a == 0xED and b > 0x9F then return false end
      size = 3
    end
    if a >= 0xF0 then
      if not follows(d) or a == 0xF0 and b < 0x90 or a == 0xF4 and b > 0x8F then return false end
      size = 4
    end
    p = find(s, '[\128-\255]', p + size)
  end
  return true
end

-- What a string without its quotes means; nil for a bad escape, a bare control character, or bytes that are no characters.
local function unescape(text)
  if find(text, '[%z\1-\31]') or not is_utf8(text) then return nil end
  if not find(text, '\\', 1, true) then return text end
  local parts, p = {}, 1
  while true do
    local q = find(text, '\\', p, true)
    if not q then
      parts[#parts + 1] = sub(text, p)
      return table.concat(parts)
    end
    parts[#parts + 1] = sub(text, p, q - 1)
    local kind = sub(text, q + 1, q + 1)
    if kind == 'u' then
      local hex = string.match(text, '^%x%x%x%x', q + 2)
      if not hex then return nil end
      local code = tonumber(hex, 16)
      p = q + 6
      if code >= 0xDC00 and code <= 0xDFFF then return nil end
      if code >= 0xD800 and code <= 0xDBFF then
        local low = string.match(text, '^\\u(%x%x%x%x)', p)
        low = low and tonumber(low, 16)
        if not low or low < 0xDC00 or low > 0xDFFF then return nil end
        code = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00)
        p = p + 6
      end
      parts[#parts + 1] = utf8(code)
    else
      local plain = ESCAPES[kind]
      if not plain then return nil end
      parts[#parts + 1] = plain
      p = q + 2
    end
  end
end

-- Whether a key means what it says: usual ones do. A plain loop, which the interpreter compiles, and a search is not.
local function is_plain(name)
  for i = 1, #name do
    local c = byte(name, i)
    if c < 32 or c == 92 or c >= 128 then return false end
  end
  return true
end

local FIRST_KEY, KEY, VALUE, FIRST_VALUE, AFTER = 1, 2, 3, 4, 5

-- The places of the wanted top-level fields as {first byte, last byte}, and the place of the opening brace; or nil and
-- what is wrong. A wanted key that is there twice, or hidden behind escapes, is refused: two readers of such a body may
-- see two different values.
local function scan(s, want)
  local p, c = past_space(s, 1)
  if c ~= 123 then return nil, 'it is not a JSON object' end
  local open, found, closers, depth = p, {}, { 125 }, 1
  local state, name, from = FIRST_KEY, nil, nil
  p, c = past_space(s, p + 1)
  while true do
    local last
    if state == FIRST_KEY or state == KEY then
      if c == 34 then
        local q = string_end(s, p)
        if not q then return nil, 'it ends within a string' end
        if depth == 1 then
          name = sub(s, p + 1, q - 1)
          if not is_plain(name) then
            local meant = unescape(name)
            if not meant then return nil, 'a key is not valid' end
            if meant ~= name and want[meant] then return nil, 'the key `' .. meant .. '` is written with escapes' end
          end
          if want[name] and found[name] then return nil, 'the key `' .. name .. '` is there twice' end
        end
        p, c = past_space(s, q + 1)
        if c ~= 58 then return nil, 'a colon is missing' end
        p, c = past_space(s, p + 1)
        if depth == 1 then from = p end
        state = VALUE
      elseif c == 125 and state == FIRST_KEY then
        last = p
      else
        return nil, c and 'a key is missing' or 'it ends within an object'
      end
    elseif state == VALUE or state == FIRST_VALUE then
      if c == 34 then
        last = string_end(s, p)
        if not last then return nil, 'it ends within a string' end
        state = AFTER
      elseif c == 123 or c == 91 then
        depth = depth + 1
        if depth > DEPTH then return nil, 'it is nested too deeply' end
        closers[depth] = c + 2
        state = c == 123 and FIRST_KEY or FIRST_VALUE
        p, c = past_space(s, p + 1)
      elseif c == 93 and state == FIRST_VALUE then
        last = p
      elseif c then
        last = scalar_end(s, p, c)
        if not last then return nil, 'a value is not valid' end
        state = AFTER
      else
        return nil, 'it ends within a value'
      end
    elseif c == 44 then
      state = closers[depth] == 125 and KEY or VALUE
      p, c = past_space(s, p + 1)
    elseif c == closers[depth] then
      last = p
    else
      return nil, c and 'a comma is missing' or 'it ends too early'
    end
    if last then
      -- A closing bracket ends the value that it belongs to; a value of its own is one already.
      if state ~= AFTER or c == 125 or c == 93 then
        depth = depth - 1
        if depth == 0 then
          local _, rest = past_space(s, last + 1)
          if rest then return nil, 'something follows its end' end
          return found, open
        end
        state = AFTER
      end
      if depth == 1 and name then
        if want[name] then found[name] = { from, last } end
        name = nil
      end
      p, c = past_space(s, last + 1)
    end
  end
end

-- The string that stands at a place of a body; nil when what stands there is no string, or not a valid one.
local function string_at(s, place)
  if byte(s, place[1]) ~= 34 then return nil end
  return unescape(sub(s, place[1] + 1, place[2] - 1))
end
