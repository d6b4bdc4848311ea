-- Puts a caller's own key in the place of the one that is configured.
function envoy_on_request(h)
  local context = h:filterContext()
  local kept = h:streamInfo():dynamicMetadata():get('chancery.own_keys') or {}
  local key = kept[context:get('header')]
  if key and key ~= '' then
    local prefix = context:get('prefix')
    if string.sub(key, 1, #prefix) ~= prefix then key = prefix .. key end
    h:headers():replace(context:get('target'), key)
  elseif not context:get('fallback') then
    -- The listener gives its refusals the form of the API.
    h:respond({ [':status'] = '401' }, 'missing upstream credential')
  end
end
