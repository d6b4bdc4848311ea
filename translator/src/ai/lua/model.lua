-- Reads which model a request is for, and leads it to the table of that model.
-- Acts only on routes whose metadata has orders for it.
local WANT = {
  model = true, stream = true, stream_options = true, n = true, max_tokens = true, max_completion_tokens = true,
  max_output_tokens = true,
}
-- Bytes of text that make a token, roughly; and the tokens of a prompt that are held before they are known.
local BYTES, HELD = 4, 4096
local STREAMS_USAGE = { ['/chat/completions'] = true, ['/completions'] = true }

local function quoted(text)
  return (string.gsub(text, '[%c"\\]', function(c) return string.format('\\u%04x', byte(c)) end))
end

local function refuse(h, status, message, kind, code)
  local body = '{"error":{"message":"' .. quoted(message) .. '","type":"' .. kind .. '","param":null,"code":'
    .. (code and '"' .. code .. '"' or 'null') .. '}}'
  h:respond({ [':status'] = tostring(status), ['content-type'] = 'application/json' }, body)
end

-- The value of the form field `model`; or nil and what is wrong. No field at all is no error.
local function form_model(s, content_type)
  local first, last, wrong = form_field(s, content_type, 'model')
  if wrong then return nil, wrong end
  local model = first and sub(s, first, last)
  if model and not is_utf8(model) then return nil, '`model` is not a valid string' end
  return model
end

local function json_model(s)
  local found, wrong = scan(s, WANT)
  if not found then return nil, wrong end
  if not found.model then return nil, nil, found end
  local model = string_at(s, found.model)
  if not model then return nil, '`model` is not a valid string' end
  return model, nil, found
end

-- What the request is going to cost, as far as it says, and whether its stream has to be told to end with its usage.
local function asked_of(s, found, rest)
  local function number(name)
    local place = found[name]
    local n = place and tonumber(sub(s, place[1], place[2]))
    return n and n > 0 and n < 1e8 and floor(n) or nil
  end
  local input = floor(#s / BYTES)
  local asked = { input = input, output = 0, total = 0 }
  local most = number('max_completion_tokens') or number('max_tokens') or number('max_output_tokens')
  if most then
    asked.output = math.min(most * (number('n') or 1), 1e9)
    asked.total = math.min(asked.output + math.min(input, HELD), 1e9)
  end
  local stream = found.stream and sub(s, found.stream[1], found.stream[2])
  if STREAMS_USAGE[rest] and stream and stream ~= 'false' and stream ~= 'null' then
    local place = found.stream_options
    local options = place and byte(s, place[1]) == 123 and sub(s, place[1], place[2])
    local inner = options and scan(options, { include_usage = true })
    local given = inner and inner.include_usage
    if not (given and sub(options, given[1], given[2]) == 'true') then asked.usage = true end
  end
  return asked
end

function envoy_on_request(h)
  -- Of the route that was found first: `h:metadata()` keeps what it says at its first call, and is asked about the last one.
  local route = h:route()
  local orders = route and route:metadata()
  if orders == nil then return end
  local act = orders:get('act')
  if act == nil then return end
  local headers = h:headers()
  local path = headers:get(':path')
  local bare = string.match(path, '^[^?#]*')
  local rest = orders:get('rest')
  -- What Envoy answers from here on has the form of the API; and what stands behind a provider's prefix is kept.
  h:streamInfo():dynamicMetadata():set('chancery.ai', 'request', rest or act)
  if act == 'unsupported' then
    return refuse(h, 404, 'unsupported path: ' .. bare, 'invalid_request_error', 'unknown_url')
  end
  local method = headers:get(':method')
  local tables = orders:get('tables')
  if act == 'list' then
    if method ~= 'GET' and method ~= 'HEAD' then
      return refuse(h, 405, method .. ' is not supported on ' .. bare, 'invalid_request_error', 'method_not_supported')
    end
    headers:replace('x-chancery-scope', orders:get('list') .. tables)
    h:clearRouteCache()
    return
  end
  if method ~= 'POST' then
    if method == 'OPTIONS' then return end
    return refuse(h, 405, method .. ' is not supported on ' .. bare, 'invalid_request_error', 'method_not_supported')
  end
  local api, many, counted = orders:get('api'), orders:get('many'), orders:get('counted')
  local estimates = orders:get('estimates') or ''
  local content_type = headers:get('content-type') or ''
  local body = h:body()
  local text = body and body:length() > 0 and body:getBytes(0, body:length()) or ''
  local model, wrong, found
  if string.find(string.lower(content_type), 'multipart/form-data', 1, true) then
    model, wrong = form_model(text, content_type)
  else
    model, wrong, found = json_model(text)
  end
  if not wrong and model and (#model > 512 or string.find(model, '[%c\127]') or string.find(model, '^%s') or string.find(model, '%s$')) then
    wrong = '`model` is not a name'
  end
  if wrong then
    return refuse(h, 400, 'malformed request: the body sent to ' .. bare .. ' cannot be read: ' .. wrong,
      'invalid_request_error', 'invalid_body')
  end
  headers = h:headers()
  headers:replace('x-chancery-api', api)
  local metadata = h:streamInfo():dynamicMetadata()
  if counted ~= nil then
    -- Each entry costs a microsecond or two, a table of them more than its entries.
    local asked = found and asked_of(text, found, rest) or { input = 0, output = 0, total = 0 }
    metadata:set('chancery.ai', 'asked_input', asked.input)
    if asked.usage then metadata:set('chancery.ai', 'asks_usage', true) end
    for field in string.gmatch(estimates, '%a+') do
      if field ~= 'input' then metadata:set('chancery.ai', 'asked_' .. field, asked[field]) end
    end
  end
  if model and model ~= '' then
    headers:replace('x-ai-eg-model', model)
    headers:replace('x-chancery-scope', 'model/' .. tables .. '|' .. model)
    metadata:set('chancery.ai', 'model', model)
    -- Tables of many models are fetched first: behind that, `other.lua` does this.
    if many == nil then
      h:clearRouteCache()
      if h:metadata():get('found') ~= nil then return end
      headers:replace('x-chancery-scope', 'other/' .. tables)
    end
  else
    headers:remove('x-ai-eg-model')
    headers:replace('x-chancery-scope', 'other/' .. tables)
  end
  h:clearRouteCache()
end
