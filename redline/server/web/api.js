// Talks to the server that this page came from, with the key of this tab.

const KEY = "redline.api_key";

export const apiKey = () => sessionStorage.getItem(KEY) ?? "";

export function setApiKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

// An answer that is not a success, or none at all (status 0).
export class ApiError extends Error {
  constructor(status, { message, code = null, param = null } = {}, retryAfter = null) {
    super(message ?? "no answer");
    Object.assign(this, { status, code, param, retryAfter });
  }
}

export async function request(path, options = {}) {
  const headers = { ...options.headers };
  if (apiKey()) headers.authorization = `Bearer ${apiKey()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "The server cannot be reached.", code: "unreachable" });
  }
  if (response.ok) return response;
  throw await failure(response);
}

export const getJson = async (path) => (await request(path)).json();

async function failure(response) {
  const retryAfter = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  let told = {};
  try {
    told = (await response.json()).error ?? {};
  } catch {
    told = { message: response.statusText };
  }
  if (response.status === 401) document.dispatchEvent(new CustomEvent("key-wanted"));
  return new ApiError(response.status, told, Number.isNaN(retryAfter) ? null : retryAfter);
}

// The data of each server-sent event, parsed; ends at [DONE] or where the stream ends.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data: ")) continue;
        if (line === "data: [DONE]") return;
        const data = JSON.parse(line.slice(6));
        if (data.error) throw new ApiError(response.status, data.error);
        yield data;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // the connection may be gone already
  }
}
