import assert from "node:assert/strict";
import { test } from "node:test";
import { serverStates } from "./server-states.js";

test("a node's state is that of its first server in the partners' section", () => {
  const page = [
    "# HELP haproxy_server_status Current status of the service, per state label value.",
    'haproxy_server_status{proxy="sftp",server="node-1",state="DOWN"} 0',
    'haproxy_server_status{proxy="sftp",server="node-1",state="UP"} 1',
    'haproxy_server_status{proxy="sftp",server="node-2",state="DRAIN"} 1',
    'haproxy_server_status{proxy="sftp",server="node-2-last-resort",state="UP"} 1',
    'haproxy_server_status{proxy="admin",server="node-2",state="UP"} 1',
    'haproxy_server_check_status{proxy="sftp",server="node-1",state="L7OK"} 1',
    "",
  ].join("\n");
  assert.deepEqual(
    [...serverStates(page)],
    [
      ["node-1", "UP"],
      ["node-2", "DRAIN"],
    ],
  );
  assert.equal(serverStates("<html>no metrics</html>").size, 0);
});
