// Calls of the backend in the Connect protocol, JSON over fetch.

export const settings = await fetch("config.json").then((response) => response.json());
const base = (settings.NEXT_PUBLIC_API_URL || "api/v1").replace(/\/$/, "");
const endOfStream = 2;

// The token that signs the page in comes in the fragment of a link, which no
// server sees, and is taken out of the address and the history at once. It stays
// with this tab: a cookie would go to every port of this host, and what
// localStorage has stays behind when the tab is closed.
const tokenKey = "poco-client-token";

// takeToken reads the token of a link, and tells whether there was one.
export function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return false;
  signIn(token);
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}

// signIn keeps a token for all calls of this tab.
export function signIn(token) {
  sessionStorage.setItem(tokenKey, token.trim());
}

function headers(contentType) {
  const token = sessionStorage.getItem(tokenKey);
  return {
    "Content-Type": contentType,
    "Connect-Protocol-Version": "1",
    ...(token ? { Authorization: `Bearer ${token}` } : {}),
  };
}

export class ApiError extends Error {
  constructor(code, message) {
    super(message || code);
    this.code = code;
  }
}

async function failure(response) {
  const body = await response.json().catch(() => ({}));
  return new ApiError(body.code || "unavailable", body.message || `the server answered ${response.status}`);
}

// call makes one unary call, for example call("TaskService/EnqueueTask", {prompt}).
export async function call(method, request) {
  const response = await fetch(`${base}/poco.backend.v1.${method}`, {
    method: "POST",
    headers: headers("application/json"),
    body: JSON.stringify(request),
  }).catch((error) => { throw new ApiError("unavailable", error.message); });
  if (!response.ok) throw await failure(response);
  return response.json();
}

// envelope wraps a message: one byte of flags, four of length, the message.
function envelope(message) {
  const payload = new TextEncoder().encode(JSON.stringify(message));
  const framed = new Uint8Array(5 + payload.length);
  new DataView(framed.buffer).setUint32(1, payload.length);
  framed.set(payload, 5);
  return framed;
}

// watch yields the messages of a server stream and throws an ApiError when
// the stream ends with one.
export async function* watch(method, request, signal) {
  const response = await fetch(`${base}/poco.backend.v1.${method}`, {
    method: "POST",
    headers: headers("application/connect+json"),
    body: envelope(request),
    signal,
  });
  if (!response.ok) throw await failure(response);
  const reader = response.body.getReader();
  let buffer = new Uint8Array(0);
  for (;;) {
    while (buffer.length >= 5) {
      const length = new DataView(buffer.buffer, buffer.byteOffset).getUint32(1);
      if (buffer.length < 5 + length) break;
      const message = JSON.parse(new TextDecoder().decode(buffer.subarray(5, 5 + length)) || "{}");
      if (buffer[0] & endOfStream) {
        if (message.error) throw new ApiError(message.error.code, message.error.message);
        return;
      }
      buffer = buffer.slice(5 + length);
      yield message;
    }
    const { done, value } = await reader.read();
    if (done) throw new ApiError("unavailable", "the stream was cut");
    const joined = new Uint8Array(buffer.length + value.length);
    joined.set(buffer);
    joined.set(value, buffer.length);
    buffer = joined;
  }
}

// follow keeps a watch open: it opens it again after each end, with a growing
// pause while the server is away, until signal aborts. state gets the error
// while there is one, and null once messages come again.
export async function follow(open, handle, signal, state) {
  let pause = 250;
  while (!signal.aborted) {
    try {
      for await (const message of open()) {
        pause = 250;
        state(null);
        handle(message);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (["not_found", "invalid_argument", "out_of_range", "unauthenticated"].includes(error.code)) throw error;
      state(error);
    }
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, pause);
      signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
    });
    pause = Math.min(pause * 2, 5000);
  }
}
