import { until } from "#lib/testing.js";
import { bytes } from "./content.js";
import type { Partner } from "./partner.js";
import type { RawSftp } from "./raw-sftp.js";

/** A partner who goes on working, and must notice nothing of what a test does beside it. */
export class Bystander {
  private rounds = 0;
  private fault: unknown;
  private stopped = false;
  private working: Promise<void> = Promise.resolve();

  private constructor(private readonly session: RawSftp) {}

  static async start(partner: Partner, node: number): Promise<Bystander> {
    const bystander = new Bystander(await partner.rawOn(node, { source: "198.51.100.1" }));
    bystander.working = bystander.work();
    return bystander;
  }

  private async work(): Promise<void> {
    const content = bytes(100_000, "bystander");
    try {
      for (; !this.stopped; this.rounds++) {
        await this.session.put("/bystander", content);
        if (!(await this.session.get("/bystander")).equals(content)) throw new Error("the bystander read other bytes");
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    } catch (error) {
      this.fault = error;
    }
  }

  /** Runs `action`; throws if the bystander was disturbed, or did nothing in a while. */
  async undisturbed(action: () => Promise<void>): Promise<void> {
    const before = this.rounds;
    await action();
    await until("the bystander goes on", () => {
      if (this.fault !== undefined) throw new Error("the bystander was disturbed", { cause: this.fault });
      return this.rounds >= before + 3;
    });
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.working;
    await this.session.end();
    if (this.fault !== undefined) throw new Error("the bystander was disturbed", { cause: this.fault });
  }
}
