import fs from "node:fs";

/**
 * A disk whose syncs fail when a test says so, as a dying one's or a full network share's do. To be imported before anything
 * that takes the calls from `fs`.
 */
export const syncs = {
  /** Undefined: they work. */
  failWith: undefined as string | undefined,
  failed: 0,
  done: 0,
};

for (const name of ["fsync", "fdatasync"] as const) {
  const real = fs[name];
  const faulty = (fd: number, callback: fs.NoParamCallback): void => {
    const code = syncs.failWith;
    if (code === undefined) {
      real(fd, (error) => {
        syncs.done += 1;
        callback(error);
      });
      return;
    }
    setImmediate(() => {
      callback(Object.assign(new Error(`${code}: ${name}`), { code }));
      syncs.failed += 1;
    });
  };
  Object.assign(fs, { [name]: faulty });
}
