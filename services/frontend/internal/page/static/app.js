// The page: sessions on the left, one of them on the right.
import { call, follow, settings, signIn, takeToken, watch } from "./api.js";
import { badge, el, word } from "./dom.js";
import { SessionView } from "./session.js";

const $ = (id) => document.getElementById(id);
const sessions = new Map();
let view = null;

function connection(error) {
  if (error?.code === "unauthenticated") {
    $("sign-in").hidden = false;
    error = null;
  }
  $("connection").hidden = !error;
  if (error) $("connection").textContent = `Not connected: ${error.message}. Trying again…`;
}

function showSessions() {
  const rows = [...sessions.values()].sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
  $("sessions").replaceChildren(...rows.map((session) => {
    const state = el("span");
    badge(state, word(session.status, "SESSION_STATUS_"));
    return el("a", { href: `#/session/${session.id}`, "aria-current": view?.id === session.id ? "page" : null },
      el("span", {}, session.title || `Session ${session.id.slice(0, 8)}`), state);
  }));
  const current = view && sessions.get(view.id);
  if (current) $("title").textContent = current.title || `Session ${current.id.slice(0, 8)}`;
}

async function listSessions() {
  const { sessions: list = [] } = await call("SessionService/ListSessions", { pageSize: 100 });
  sessions.clear();
  for (const session of list) sessions.set(session.id, session);
  showSessions();
}

// List after each (re)connection: what changed while away is in the list.
function watchSessions() {
  const open = async function* () {
    const stream = watch("SessionService/WatchSessions", {}, new AbortController().signal);
    const first = stream.next();
    first.catch(() => {}); // told below, or by the list
    await listSessions();
    connection(null);
    const { value, done } = await first;
    if (done) return;
    yield value;
    yield* stream;
  };
  follow(open, (message) => {
    if (message.session) sessions.set(message.session.id, message.session);
    if (message.deletedSessionId) sessions.delete(message.deletedSessionId);
    if (message.resync) listSessions().catch(connection);
    showSessions();
  }, new AbortController().signal, connection).catch(connection);
}

function route() {
  if (takeToken()) {
    location.reload();
    return;
  }
  const id = /^#\/session\/([0-9a-f-]{36})$/.exec(location.hash)?.[1];
  if (view && view.id === id) return;
  view?.close();
  view = id ? new SessionView(id, connection) : null;
  if (!id) {
    $("conversation").replaceChildren(el("p", { class: "hint" }, "Type a task below. The agent works in a workspace of its own, and every step shows here."));
    $("details").hidden = true;
    $("title").textContent = "New task";
    badge($("status"), "");
    $("cancel").hidden = true;
    $("prompt").focus();
  }
  showSessions();
}

function requestId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function send(event) {
  event?.preventDefault();
  const prompt = $("prompt").value;
  if (!prompt.trim()) return;
  const submit = $("composer").querySelector("button");
  submit.disabled = true;
  $("problem").textContent = "";
  try {
    const request = { prompt, clientRequestId: requestId() };
    if (view) request.sessionId = view.id;
    const { sessionId } = await call("TaskService/EnqueueTask", request);
    $("prompt").value = "";
    location.hash = `#/session/${sessionId}`;
  } catch (error) {
    $("problem").textContent = error.message;
  } finally {
    submit.disabled = false;
  }
}

$("composer").addEventListener("submit", send);
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send();
});
$("new").addEventListener("click", () => { location.hash = ""; });
$("cancel").addEventListener("click", () => {
  call("SessionService/CancelSession", { sessionId: view.id }).catch(connection);
});
$("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn($("token").value);
  location.reload();
});
window.addEventListener("hashchange", route);
takeToken();
document.documentElement.dataset.version = settings.version;
route();
watchSessions();
