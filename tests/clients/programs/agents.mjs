// Coding agents as programs: run one on a prompt, and give back what it printed.
import { execFile } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const bin = join(dirname(fileURLToPath(import.meta.url)), "node_modules", ".bin");

/**
 * stdout of a command of node_modules; its home is the working folder. Agents sample their answers: one that filled
 * all the tokens it may have, of which its last words then complain as `full` has it, came through, too.
 */
export function agent(command, args, environment, full) {
  return new Promise((resolve, reject) => {
    const options = { env: { ...process.env, ...environment }, timeout: 200_000 };
    const done = (error, out, err) => {
      const said = `${out}${err}`;
      if (!error || full.test(said)) resolve(out || "too much");
      else reject(new Error(`${error.code}: ${`${out.slice(-250)} ${err.slice(-100)}`}`));
    };
    execFile(join(bin, command), args, options, done).stdin.end();
  });
}
