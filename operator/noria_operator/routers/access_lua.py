"""The parts of the scripts by which a router checks callers, in Lua.

Invariants: nothing here lets anybody in by itself; the keys of a Secret are read together, again within a
second after the kubelet changed them. `access_script` puts them together and says before them which `guards`,
`files` and constants there are.
"""

FILES = r"""
local ffi = require("ffi")
ffi.cdef[[
typedef struct { uint64_t ino; int64_t off; uint16_t size; uint8_t type; char name[256]; } noria_entry;
void *opendir(const char *);
noria_entry *readdir(void *);
int closedir(void *);
intptr_t readlink(const char *, char *, size_t);
]]
local buffer = ffi.new("char[256]")

-- The directory that a volume shows at present: the kubelet replaces this link when something changed.
local function version_of(place)
  local size = tonumber(ffi.C.readlink(place .. "/..data", buffer, 255))
  if size <= 0 then return nil end
  return ffi.string(buffer, size)
end

local function entries(place)
  local found, folder = {}, ffi.C.opendir(place)
  if folder == nil then return found end
  local entry = ffi.C.readdir(folder)
  while entry ~= nil do
    local name = ffi.string(entry.name)
    if name ~= "." and name:sub(1, 2) ~= ".." then found[#found + 1] = name end
    entry = ffi.C.readdir(folder)
  end
  ffi.C.closedir(folder)
  return found
end

local function content(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read("*a")
  file:close()
  return text
end
"""

KEYS = r"""
local function read_keys(place, version)
  local clients = {}
  for _, name in ipairs(entries(place .. "/" .. version)) do
    local key = (content(place .. "/" .. version .. "/" .. name) or ""):gsub("[\r\n]+$", "")
    if #key >= SHORTEST and #key <= LONGEST and not key:find("[%c]") then clients[key] = name end
  end
  return clients
end

local kept = {}

-- Looked up, not compared: how long it takes tells nothing about a key that is there.
local function keys_in(place, now)
  local known = kept[place]
  if known and math.abs(now - known.at) < 1000 then return known.clients end
  local version = version_of(place)
  if known and known.version == version then
    known.at = now
    return known.clients
  end
  local clients = {}
  for _ = 1, 5 do
    clients = version and read_keys(place, version) or {}
    local after = version_of(place)
    if after == version then break end
    version = after -- it changed meanwhile, and the files of before may be gone
  end
  kept[place] = { at = now, version = version, clients = clients }
  return clients
end
"""

CLAIMS = r"""
local function has(value, wanted)
  if type(value) == "table" then
    for _, one in pairs(value) do
      if type(one) ~= "table" and wanted[tostring(one)] then return true end
    end
    return false
  end
  return value ~= nil and wanted[tostring(value)] == true
end

-- The claim of this name, else what its parts lead to; the words of scope (RFC 8693) are a list.
local function claim_of(payload, name)
  local value = payload[name]
  if value == nil then
    value = payload
    for part in name:gmatch("[^.]+") do
      if type(value) ~= "table" then return nil end
      value = value[part]
    end
  end
  if name == "scope" and type(value) == "string" then
    local words = {}
    for word in value:gmatch("%S+") do words[#words + 1] = word end
    return words
  end
  return value
end
"""

JUDGE = r"""
local function by_key(headers, guard, now)
  if guard.keys == "" or headers:getNumValues(guard.header) ~= 1 then return false end
  local shown = headers:get(guard.header)
  if guard.header == "authorization" then
    shown = shown:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(.+)$")
  end
  return shown ~= nil and keys_in(guard.keys, now)[shown] ~= nil
end

local function by_token(headers, verified, guard, name)
  local payload = verified[name]
  if type(payload) ~= "table" then
    local failed = headers:get("authorization") and verified[name .. "/failed"]
    return UNKNOWN, type(failed) == "table" and failed.message or nil
  end
  for claim, wanted in pairs(guard.claims) do
    if not has(claim_of(payload, claim), wanted) then
      return FORBIDDEN, "the token's claim " .. claim .. " does not allow this"
    end
  end
  return GRANTED
end

local function judge(handle, guard, name)
  local headers, verdict, why = handle:headers(), UNKNOWN, nil
  if by_key(headers, guard, handle:timestamp()) then verdict = GRANTED end
  if verdict ~= GRANTED and guard.token then
    local verified = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.jwt_authn") or {}
    verdict, why = by_token(headers, verified, guard, name)
  end
  if verdict == GRANTED then -- what was shown is for the router alone
    if guard.keys ~= "" then headers:remove(guard.header) end
    if guard.token then headers:remove("authorization") end
  end
  return verdict, why
end

local function held(guard, now)
  local keys, jwks = "", ""
  if guard.keys ~= "" then keys = next(keys_in(guard.keys, now)) and "present" or "missing" end
  if guard.jwks == "remote" then
    jwks = "remote"
  elseif guard.jwks ~= "" then
    local text = content(guard.jwks)
    jwks = not text and "missing" or text:find('"kty"', 1, true) and "present" or "invalid"
  end
  return keys, jwks
end

local function report(handle)
  local name = handle:headers():get(":path"):match("^" .. REPORT .. "([%w-]+)$")
  local guard = guards[name]
  if not guard then return end
  local keys, jwks = held(guard, handle:timestamp())
  local body = '{"rules":"%s","keys":"%s","jwks":"%s"}'
  local headers = { [":status"] = "200", ["content-type"] = "application/json" }
  handle:respond(headers, body:format(guard.rules, keys, jwks))
end

function envoy_on_request(handle)
  local name = handle:filterContext():get("deployment")
  if not name then return report(handle) end
  local guard = guards[name]
  if not guard then return end
  local verdict, why = judge(handle, guard, name)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(METADATA, name, verdict)
  metadata:set(TOLD, "why", why or guard.need)
  metadata:set(TOLD, "challenge", guard.challenge)
  handle:clearRouteCache()
end
"""

KEY_SETS = r"""
function envoy_on_request(handle)
  local path = files[handle:headers():get(":path")]
  local text = path and content(path)
  if not text then return end
  handle:respond({ [":status"] = "200", ["content-type"] = "application/json" }, text)
end
"""
