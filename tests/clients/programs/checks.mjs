// What the programs for Node share; checks.py says how they are run.
const [URL, MODEL, KEY, LIMITED_KEY] = process.argv.slice(2);
export { URL, MODEL, KEY, LIMITED_KEY };
export const V1 = `${URL}/v1`;
export const CAPITAL = [{ role: "user", content: "Tell me the capital of France." }];
export const LONG = 1900;

const checks = [];

/** Add a check. */
export function check(name, work) {
  checks.push([name, work]);
}

/** Run all; the exit code is 1 when one failed. */
export async function main() {
  for (const [name, work] of checks) {
    const began = performance.now();
    let reason = null;
    try {
      await work();
    } catch (error) {
      reason = `${error.name}: ${String(error.message).replace(/\s+/g, " ").slice(0, 300)}`;
      process.exitCode = 1;
      console.error(error);
    }
    const seconds = Math.round(performance.now() - began) / 1000;
    console.log(JSON.stringify({ check: name, seconds, reason }));
  }
}

/** What a promise is rejected with. */
export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("nothing was refused");
}

/** Start an answer within `work` and leave it; the server must notice. */
export async function abandoned(work) {
  const before = await aborted();
  await work();
  for (let wait = 0; (await aborted()) !== before + 1; wait += 50) {
    if (wait > 30000) throw new Error("the server went on with an answer that nobody waits for");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function aborted() {
  const answer = await fetch(`${URL}/metrics`, { headers: { authorization: `Bearer ${KEY}` } });
  return Number(/^redline:requests_aborted_total\S* (\S+)$/m.exec(await answer.text())[1]);
}
