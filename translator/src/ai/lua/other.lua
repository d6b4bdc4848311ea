-- Leads a request whose model has no table of its own to the table of all other models, where tables are fetched on demand.
function envoy_on_request(h)
  local headers = h:headers()
  if headers:get('x-chancery-api') == nil then return end
  if h:metadata():get('found') ~= nil then return end
  local key = headers:get('x-chancery-scope')
  local tables = key and string.match(key, '^model/([^|]*|[^|]*)|')
  if not tables then return end
  headers:replace('x-chancery-scope', 'other/' .. tables)
  h:clearRouteCache()
end
