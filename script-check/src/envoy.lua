-- As much of Envoy as the scripts see: one request, and what became of it.
local function map(fields)
  return {
    get = function(_, name) return fields[name] end,
    replace = function(_, name, value) fields[name] = value end,
    remove = function(_, name) fields[name] = nil end,
  }
end

-- Runs the script on a request. Whether it was refused, the fields of the headers, and the body.
local function run(headers, metadata, orders, text)
  local refused = nil
  local body = {
    length = function() return #text end,
    getBytes = function(_, from, count) return string.sub(text, from + 1, from + count) end,
    setBytes = function(_, made) text = made; return #made end,
  }
  local handle = {
    headers = function() return map(headers) end,
    -- Of the route that gives the orders, and of the one that is found for the model.
    route = function() return { metadata = function() return map(orders) end } end,
    metadata = function() return map({ found = 'a route' }) end,
    streamInfo = function()
      return {
        dynamicMetadata = function()
          return {
            get = function(_, space) return metadata[space] end,
            set = function(_, space, name, value)
              metadata[space] = metadata[space] or {}
              metadata[space][name] = value
            end,
          }
        end,
      }
    end,
    body = function() return body end,
    clearRouteCache = function() end,
    respond = function(_, answer) refused = answer[':status'] end,
  }
  envoy_on_request(handle)
  return refused, headers, text
end

local function request(content_type)
  return { [':path'] = '/v1/chat/completions', [':method'] = 'POST', ['content-type'] = content_type or 'application/json' }
end

-- The status of a refusal, or the model, or neither.
function model_of(text, content_type)
  local orders = {
    act = 'read', api = 'openai', rest = '/chat/completions', tables = '80|h', counted = 'true', estimates = 'output,total',
  }
  local refused, headers = run(request(content_type), {}, orders, text)
  return refused, headers['x-ai-eg-model']
end

-- The status of a refusal, or the body as a server gets it.
function edited_by(orders, text)
  local headers = request()
  headers['x-chancery-edits'] = orders
  local kept = { ['chancery.ai'] = { request = '/chat/completions' } }
  local refused, _, made = run(headers, kept, {}, text)
  return refused, made
end
