-- Finds a field of a form. Readers of forms differ in what they make of odd ones, so those are refused: a client must not
-- show one model to us and another one to the server.
local function boundary_of(content_type)
  local _, count = string.gsub(string.lower(content_type), 'boundary', '')
  if count ~= 1 then return nil end
  return string.match(content_type, '[bB]oundary="([^"\\]+)"') or string.match(content_type, '[bB]oundary=([^;,%s"]+)')
end

-- The name of a part, by what stands before its content; nil when it is not plain.
local function name_of(head)
  local found
  for line in string.gmatch(head .. '\r\n', '(.-)\r\n') do
    local lower = string.lower(line)
    if find(line, '^[ \t]') then return nil end
    if find(lower, '^content%-disposition[ \t]*:') then
      if found then return nil end
      local _, count = string.gsub(lower, '[;%s]name%*?%s*=', '')
      local _, before = find(lower, '[;%s]name="')
      local close = before and find(line, '"', before + 1, true)
      if count ~= 1 or not close or find(line, '\\', 1, true) then return nil end
      found = sub(line, before + 1, close - 1)
    end
  end
  return found
end

-- The first and the last byte of a field's content; nothing when there is none; or nil, nil and what is wrong.
local function form_field(s, content_type, wanted)
  local boundary = boundary_of(content_type)
  if not boundary then return nil, nil, 'the content type names no boundary' end
  local mark = '--' .. boundary
  local at = sub(s, 1, #mark) == mark and #mark or sub(s, 1, #mark + 2) == '\r\n' .. mark and #mark + 2
  if not at then return nil, nil, 'it does not begin with a part of the form' end
  local first, last
  while true do
    local after = sub(s, at + 1, at + 2)
    if after == '--' then return first, last end
    if after ~= '\r\n' then return nil, nil, 'the form ends too early' end
    local head_end, content = find(s, '\r\n\r\n', at + 1, true)
    local part_end, mark_end = find(s, '\r\n' .. mark, at + 1, true)
    if not head_end or not part_end or part_end < content then return nil, nil, 'the form ends too early' end
    local name = name_of(sub(s, at + 3, head_end - 1))
    if not name then return nil, nil, 'a part of the form has no plain name' end
    if name == wanted then
      if first then return nil, nil, 'the field `' .. wanted .. '` is there twice' end
      first, last = content + 1, part_end - 1
    end
    at = mark_end
  end
end
