-- Makes a request what the server at hand wants: path, model, headers, fields of the body. It runs for each attempt, on
-- headers that the attempt before may have changed, so everything is made from what was kept of the original.
local function decoded(text)
  return (string.gsub(text, '%%(%x%x)', function(hex) return char(tonumber(hex, 16)) end))
end

-- The edits of one share: `share&key=value&...`, shares apart by `;`, values percent-encoded.
local function edits_of(orders, share)
  for group in string.gmatch(orders, '[^;]+') do
    local name, fields = string.match(group, '^([^&]*)&?(.*)$')
    if name == share then return fields end
  end
  return ''
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

function envoy_on_request(h)
  local headers = h:headers()
  local metadata = h:streamInfo():dynamicMetadata()
  local kept = metadata:get('chancery.ai') or {}
  local orders = headers:get('x-chancery-edits')
  if orders then
    metadata:set('chancery.ai', 'edits', orders)
    metadata:set('chancery.ai', 'path', headers:get(':path'))
  else
    orders = kept.edits or ''
  end
  local share = headers:get('x-chancery-share') or '0'
  local path = kept.path or headers:get(':path')
  -- The share is still looked at by what signs the request.
  for _, name in ipairs({ 'x-chancery-edits', 'x-chancery-api', 'x-chancery-scope', 'x-chancery-skip', 'x-ai-eg-model' }) do
    headers:remove(name)
  end
  local set, removed, model, form = {}, {}, nil, nil
  local template, changes, usage = nil, false, false
  for key, name, value in string.gmatch(edits_of(orders, share), '([%a]+)%.?([^=&]*)=([^&]*)') do
    name, value = decoded(name), decoded(value)
    if key == 'p' then template = value
    elseif key == 'm' then model = value
    elseif key == 'hs' then headers:replace(name, value)
    elseif key == 'hr' then headers:remove(value)
    elseif key == 'bs' then set[name] = value; changes = true
    elseif key == 'br' then removed[value] = true; changes = true
    elseif key == 'b' then metadata:set('chancery.ai', 'backend', value)
    elseif key == 'u' then
      -- What counts the answer reads plain text.
      headers:remove('accept-encoding')
      usage = kept.asked ~= nil and kept.asked.usage == true
    end
  end
  if template then
    local query = string.match(path, '%?.*$') or ''
    local effective = model or kept.model or ''
    local made = string.gsub(template, '{(%a+)}', { rest = kept.rest or '', model = segment(effective) })
    -- A path that a server has beside its prefix.
    made = string.gsub(made, '^.*/%.%./', '/')
    if query ~= '' and string.find(made, '?', 1, true) then query = '&' .. sub(query, 2) end
    headers:replace(':path', made .. query)
  else
    headers:replace(':path', path)
  end
  if model then
    set.model = json(model)
    changes = true
  end
  if not changes and not usage then return end
  local content_type = headers:get('content-type') or ''
  local body = h:body()
  if not body or body:length() == 0 then return end
  local text = body:getBytes(0, body:length())
  local made, wrong
  if string.find(string.lower(content_type), 'multipart/form-data', 1, true) then
    made = model and form_edited(text, content_type, model)
  else
    if usage then set.stream_options = with_usage(text, set.stream_options) end
    made, wrong = edited(text, set, removed)
    if not made then
      -- Whoever hides a field that is to be changed would keep all the others as well: another model, no usage to count.
      return h:respond({ [':status'] = '400', ['content-type'] = 'application/json' },
        '{"error":{"message":' .. json('malformed request: the body cannot be changed as its server wants it: ' .. wrong)
        .. ',"type":"invalid_request_error","param":null,"code":"invalid_body"}}')
    end
  end
  if made then h:headers():replace('content-length', tostring(body:setBytes(made))) end
end
