import assert from "node:assert/strict";
import { test } from "node:test";
import { createMetrics } from "./metrics.js";

const labels = {
  states: ["joining", "ready"],
  refusals: ["untrusted"],
  ends: ["client"],
  requests: ["open"],
  failures: ["failure"],
  recoveries: ["placed", "swept"],
  loginRefusals: ["credential", "banned"],
};
const options = { node: "alpha", version: "1.2.3", labels };

test("the page holds the product's metrics and the runtime's own", async (t) => {
  const metrics = createMetrics(options);
  t.after(() => metrics.close());
  metrics.attach({
    sessions: () => 3,
    state: () => "ready",
    members: () => ["ready", "joining", "ready"],
    configHash: () => "00000000000aff",
    leaseUsable: () => true,
    configLagMs: () => 1_500,
    storageFreeBytes: () => 1e12,
    storageSizeBytes: () => 2e12,
  });
  metrics.login("password", "refused");
  metrics.bytes("upload", 10);
  metrics.bytes("download", 5);
  metrics.transferEnded("upload", "complete");
  metrics.commitDone(0.004);
  metrics.commitFailed("no-space");
  metrics.recovered("placed", 2);
  metrics.storeCall("transact", "unknown", 2);
  const { contentType, body } = await metrics.render();
  assert.match(contentType, /^text\/plain/);
  for (const line of [
    'longshore_build_info{node="alpha",version="1.2.3"} 1',
    "longshore_sessions 3",
    'longshore_node_state{state="ready"} 1',
    'longshore_node_state{state="joining"} 0',
    'longshore_members{state="ready"} 2',
    'longshore_members{state="joining"} 1',
    "longshore_config_fingerprint 10",
    "longshore_lease_usable 1",
    "longshore_config_lag_seconds 1.5",
    "longshore_storage_free_bytes 1000000000000",
    "longshore_storage_size_bytes 2000000000000",
    'longshore_logins_total{method="password",outcome="refused"} 1',
    'longshore_logins_total{method="publickey",outcome="accepted"} 0',
    'longshore_transfer_bytes_total{direction="upload"} 10',
    'longshore_transfers_total{direction="upload",outcome="complete"} 1',
    'longshore_commit_seconds_bucket{le="0.005"} 1',
    'longshore_commit_errors_total{reason="no-space"} 1',
    'longshore_recoveries_total{action="placed"} 2',
    'longshore_store_errors_total{call="transact",outcome="unknown"} 1',
  ]) {
    assert.ok(body.split("\n").includes(line), line);
  }
  assert.match(body, /^nodejs_eventloop_lag_seconds /m);
  assert.match(body, /^longshore_event_loop_lag_seconds [0-9.e-]+$/m);
  assert.equal(metrics.totalBytes, 15);
});

test("a series is there before its first event, so that this one is seen as a rise", async (t) => {
  const metrics = createMetrics(options);
  t.after(() => metrics.close());
  const { body } = await metrics.render();
  for (const line of [
    'longshore_connections_refused_total{reason="untrusted"} 0',
    'longshore_connections_closed_total{reason="client"} 0',
    'longshore_sftp_requests_total{request="open"} 0',
    'longshore_sftp_failures_total{status="failure"} 0',
    'longshore_commit_errors_total{reason="no-space"} 0',
    'longshore_recoveries_total{action="swept"} 0',
    'longshore_store_errors_total{call="transact",outcome="unknown"} 0',
    'longshore_store_seconds_count{call="lease"} 0',
  ]) {
    assert.ok(body.split("\n").includes(line), line);
  }
});

test("what nobody measures yet isn't shown as zero", async (t) => {
  const metrics = createMetrics(options);
  t.after(() => metrics.close());
  const { body } = await metrics.render();
  assert.doesNotMatch(body, /^longshore_storage_healthy /m);
  assert.doesNotMatch(body, /^longshore_config_fingerprint /m);
});

test("two registries live in one process", () => {
  createMetrics(options).close();
  createMetrics(options).close();
});
