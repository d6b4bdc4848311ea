-- Keeps the headers that limits look at when the request is over; and
-- passes over backends whose quotas are spent, as the rate limit service has just said; refuses a request for which none is
-- left. Of the quotas of a model one with room is enough; a quota of the whole backend, marked `!`, stands beside them.
function envoy_on_request(h)
  local kept = h:metadata():get('keep')
  if kept ~= nil then
    local headers, metadata = h:headers(), h:streamInfo():dynamicMetadata()
    for name in string.gmatch(kept, '[^,]+') do
      local value = headers:get(name)
      if value ~= nil then metadata:set('chancery.kept', name, value) end
    end
  end
  local orders = h:metadata():get('quotas')
  if orders == nil then return end
  local answers = h:streamInfo():dynamicMetadata():get('envoy.filters.http.ratelimit')
  if answers == nil then return end
  local mask, all = 0, tonumber(h:metadata():get('all'))
  for bit, rules in string.gmatch(orders, '(%d+)=([^;]*)') do
    local met, over, spent = 0, 0, false
    for whole, rule in string.gmatch(rules, '(!?)([^,]+)') do
      local is_over = answers['quota/' .. rule]
      if whole == '!' then
        spent = spent or is_over == true
      elseif is_over ~= nil then
        met = met + 1
        if is_over then over = over + 1 end
      end
    end
    if spent or (met > 0 and over == met) then mask = mask + 2 ^ tonumber(bit) end
  end
  if mask == 0 then return end
  if mask == all then return h:respond({ [':status'] = '429', ['x-envoy-ratelimited'] = 'true' }, '') end
  h:headers():replace('x-chancery-skip', string.format('%d', mask))
  h:clearRouteCache()
end
