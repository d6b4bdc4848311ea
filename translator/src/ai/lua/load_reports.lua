-- Asks a server how busy it is, and reads its answer so that the balancer understands it: a weight is a rate of requests
-- over utilization, and servers that report no rate are all given the same, so that utilization decides.
function envoy_on_request(h)
  h:headers():replace('endpoint-load-metrics-format', 'TEXT')
end

function envoy_on_response(h)
  local headers = h:headers()
  local report = headers:get('endpoint-load-metrics')
  if report and string.find(report, '^TEXT ') and not string.find(report, 'rps_fractional', 1, true) then
    headers:replace('endpoint-load-metrics', report .. ', rps_fractional=10')
  end
end
