import type { BalancerOptions } from "./options.js";
import { connectMsOf } from "./template.js";

/** How often HAProxy looks. */
const LOOK_MS = 100;
/** Past the connect time-out, so that whoever was on the way to the dead node has been led to another one. */
const MARGIN_MS = 150;

/**
 * A script for HAProxy (`lua-load`) that ends the sessions of a node a moment after it was marked down.
 *
 * HAProxy's own `on-marked-down shutdown-sessions` does it in the same instant. A client whose connection to the dead node
 * is still being tried then is neither led on nor told: its session stays in HAProxy for ever, without any time-out (seen
 * in 3.0.11 with a node whose address had gone). Once the node is down, nobody new is sent to it.
 */
export function renderEndSessions(options: Pick<BalancerOptions, "connectMs" | "adminTls">): string {
  const wait = Math.ceil((connectMsOf(options) + MARGIN_MS) / LOOK_MS);
  return `-- Made by Longshore (services/balancer/end-sessions.ts). Changes are overwritten.
-- Ends the sessions of each server of "sftp" once it has been down for ${wait} looks of ${LOOK_MS} ms.
local looks = {}
core.register_task(function()
  while true do
    core.msleep(${LOOK_MS})
    for name, server in pairs(core.backends["sftp"].servers) do
      -- "DOWN", "DOWN 1/2" on the way up again, "DOWN (agent)".
      if string.sub(server:get_stats()["status"], 1, 4) == "DOWN" then
        looks[name] = (looks[name] or 0) + 1
        if looks[name] == ${wait} then
          server:shut_sess()
        end
      else
        looks[name] = nil
      end
    end
  end
end)
`;
}
