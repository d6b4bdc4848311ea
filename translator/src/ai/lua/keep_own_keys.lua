-- Keeps the keys that a caller brings for servers, so that none but the server of a key gets to see it.
function envoy_on_request(h)
  local metadata = h:streamInfo():dynamicMetadata()
  -- In a later attempt the headers are no longer the caller's.
  if metadata:get('chancery.own_keys') then return end
  local headers = h:headers()
  for name in string.gmatch(h:filterContext():get('headers'), '[^,]+') do
    metadata:set('chancery.own_keys', name, headers:get(name) or '')
    headers:remove(name)
  end
end
