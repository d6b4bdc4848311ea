-- Makes a request what the server at hand wants: path, model, headers, fields of the body. It runs for each attempt, on
-- headers that the attempt before may have changed, so everything is made from what was kept of the original.
local function decoded(text)
  return (string.gsub(text, '%%(%x%x)', function(hex) return char(tonumber(hex, 16)) end))
end

local function json(text)
  return '"' .. string.gsub(text, '[%c"\\]', function(c) return string.format('\\u%04x', byte(c)) end) .. '"'
end

-- A name as one segment of a path: a client's own model leads to no other place of the server.
local function segment(text)
  if string.match(text, '^%.+$') then return (string.gsub(text, '%.', '%%2E')) end
  return (string.gsub(text, '[^%w%-%._~]', function(c) return string.format('%%%02X', byte(c)) end))
end

-- The body with top-level fields set and removed; the rest keeps its bytes. Or nil and what is wrong with it.
local function edited(s, set, removed)
  local want = {}
  for key in pairs(set) do want[key] = true end
  for key in pairs(removed) do want[key] = true end
  local found, open = scan(s, want)
  if not found then return nil, open end
  local changes, added = {}, {}
  for key, value in pairs(set) do
    if found[key] then
      changes[#changes + 1] = { found[key][1], found[key][2], value }
    else
      added[#added + 1] = json(key) .. ':' .. value
    end
  end
  for key in pairs(removed) do
    local place = found[key]
    if place and not set[key] then
      -- The key goes with its value, and one of the commas beside them.
      local first, last = place[1], place[2]
      local p = first - 1
      while byte(s, p) ~= 58 do p = p - 1 end
      p = p - 1
      while byte(s, p) ~= 34 do p = p - 1 end
      p = p - #key - 1
      local after, c = past_space(s, last + 1)
      if c == 44 then
        changes[#changes + 1] = { p, after, '' }
      else
        local before = p - 1
        while byte(s, before) == 32 or byte(s, before) == 10 or byte(s, before) == 13 or byte(s, before) == 9 do
          before = before - 1
        end
        changes[#changes + 1] = { byte(s, before) == 44 and before or p, last, '' }
      end
    end
  end
  table.sort(changes, function(a, b) return a[1] < b[1] end)
  local parts, p = {}, 1
  for _, change in ipairs(changes) do
    parts[#parts + 1] = sub(s, p, change[1] - 1)
    parts[#parts + 1] = change[3]
    p = change[2] + 1
  end
  parts[#parts + 1] = sub(s, p)
  local text = table.concat(parts)
  if #added > 0 then
    table.sort(added)
    local _, c = past_space(text, open + 1)
    text = sub(text, 1, open) .. table.concat(added, ',') .. (c == 125 and '' or ',') .. sub(text, open + 1)
  end
  return text
end

-- The same for a form, where a field is a part.
local function form_edited(s, content_type, model)
  local first, last = form_field(s, content_type, 'model')
  return first and sub(s, 1, first - 1) .. model .. sub(s, last + 1)
end

-- The options of a stream that ends with its usage: the client's own, but for that.
local function with_usage(s, options)
  if not options then
    local found = scan(s, { stream_options = true })
    local place = found and found.stream_options
    options = place and sub(s, place[1], place[2])
  end
  local made = options and byte(options, 1) == 123 and edited(options, { include_usage = 'true' }, {})
  return made or '{"include_usage":true}'
end

-- The fields of one share: `share&key=value&...`, shares apart by `;`, values percent-encoded.
local function fields_of(orders, share)
  for group in string.gmatch(orders, '[^;]+') do
    local name, fields = string.match(group, '^([^&]*)&?(.*)$')
    if name == share then return fields end
  end
  return ''
end

local function parsed(fields)
  local edits = { headers = {}, set = {}, removed = {}, body = false, usage = false }
  for key, name, value in string.gmatch(fields, '([%a]+)%.?([^=&]*)=([^&]*)') do
    name, value = decoded(name), decoded(value)
    if key == 'p' then edits.template = value
    elseif key == 'm' then
      edits.model, edits.set.model, edits.body = value, json(value), true
    elseif key == 'hs' then edits.headers[#edits.headers + 1] = { name, value }
    elseif key == 'hr' then edits.headers[#edits.headers + 1] = { value }
    elseif key == 'bs' then edits.set[name], edits.body = value, true
    elseif key == 'br' then edits.removed[value], edits.body = true, true
    elseif key == 'b' then edits.backend = value
    elseif key == 'u' then edits.usage = true
    end
  end
  return edits
end

-- Orders come from routes, so that there are few: each is read once.
local known, count = {}, 0
local function edits_of(orders, share)
  local name = share .. '\n' .. orders
  local edits = known[name]
  if not edits then
    if count > 1000 then known, count = {}, 0 end
    edits = parsed(fields_of(orders, share))
    known[name] = edits
    count = count + 1
  end
  return edits
end

local function path_of(edits, path, kept)
  if not edits.template then return path end
  local query = string.match(path, '%?.*$') or ''
  local effective = edits.model or kept.model or ''
  local made = string.gsub(edits.template, '{(%a+)}', { rest = kept.request or '', model = segment(effective) })
  -- A path that a server has beside its prefix.
  made = string.gsub(made, '^.*/%.%./', '/')
  if query ~= '' and string.find(made, '?', 1, true) then query = '&' .. sub(query, 2) end
  return made .. query
end

function envoy_on_request(h)
  local headers = h:headers()
  local metadata = h:streamInfo():dynamicMetadata()
  local kept = metadata:get('chancery.ai') or {}
  local orders = headers:get('x-chancery-edits')
  local path = headers:get(':path')
  if orders then
    metadata:set('chancery.first', 'attempt', orders .. '\n' .. path)
    headers:remove('x-chancery-edits')
  else
    local first = metadata:get('chancery.first')
    if first then orders, path = string.match(first.attempt, '^([^\n]*)\n(.*)$') end
    orders = orders or ''
  end
  -- The share is still looked at by what signs the request.
  local edits = edits_of(orders, headers:get('x-chancery-share') or '0')
  for _, one in ipairs(edits.headers) do
    if one[2] then headers:replace(one[1], one[2]) else headers:remove(one[1]) end
  end
  if edits.backend then metadata:set('chancery.ai', 'backend', edits.backend) end
  -- What counts the answer reads plain text.
  if edits.usage then headers:remove('accept-encoding') end
  local usage = edits.usage and kept.asks_usage == true
  headers:replace(':path', path_of(edits, path, kept))
  if not edits.body and not usage then return end
  local content_type = headers:get('content-type') or ''
  local body = h:body()
  if not body or body:length() == 0 then return end
  local text = body:getBytes(0, body:length())
  local made, wrong
  if string.find(string.lower(content_type), 'multipart/form-data', 1, true) then
    made = edits.model and form_edited(text, content_type, edits.model)
  else
    local set = {}
    for key, value in pairs(edits.set) do set[key] = value end
    if usage then set.stream_options = with_usage(text, set.stream_options) end
    made, wrong = edited(text, set, edits.removed)
    if not made then
      -- Whoever hides a field that is to be changed would keep all the others as well: another model, no usage to count.
      return h:respond({ [':status'] = '400', ['content-type'] = 'application/json' },
        '{"error":{"message":' .. json('malformed request: the body cannot be changed as its server wants it: ' .. wrong)
        .. ',"type":"invalid_request_error","param":null,"code":"invalid_body"}}')
    end
  end
  if made then h:headers():replace('content-length', tostring(body:setBytes(made))) end
end
