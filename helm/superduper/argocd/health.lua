-- Health of Datalayers, DataTypes, Tables and Models for Argo CD, which knows none of a custom kind by itself.
-- Put under `superduper.io/*: health.lua` of resource.customizations in the ConfigMap argocd-cm; see docs/install.md.
local status = obj.status
if status == nil or status.conditions == nil then
  return { status = "Progressing", message = "the operator has not looked at it yet" }
end
local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
local ready = found.Ready
if ready == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "the operator has not looked at this generation yet" }
end
local message = ready.reason .. ": " .. (ready.message or "")
if ready.reason == "Suspended" or ready.reason == "Paused" then
  return { status = "Suspended", message = message }
end
if ready.status == "True" then
  return { status = "Healthy", message = message }
end
if found.Stalled ~= nil and found.Stalled.status == "True" then
  return { status = "Degraded", message = message }
end
return { status = "Progressing", message = message }
