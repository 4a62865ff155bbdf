// Follows one session: its events from the first, then live.
import { call, follow, watch } from "./api.js";
import { badge, diff, el, money, seconds, word } from "./dom.js";

const $ = (id) => document.getElementById(id);
// Tools whose effect has an event, and a place on the page, of its own.
const shownOtherwise = ["AskUserQuestion", "TodoWrite", "TaskCreate", "TaskUpdate", "TaskList", "TaskGet"];
const finals = ["completed", "failed", "canceled"];

export class SessionView {
  #abort = new AbortController();
  #lastSeq = "0";
  #runs = new Map(); // run id → {lastMessage, live: Map, status}
  #tools = new Map(); // tool use id → element
  #questions = new Map(); // request id → { node, texts: question id → its text }
  #cwd = "";
  #todos = [];
  #files = null;
  #usage = new Map(); // run id → usage
  #export = null;

  constructor(id, onState) {
    this.id = id;
    $("conversation").replaceChildren();
    $("details").hidden = true;
    badge($("status"), "");
    $("cancel").hidden = true;
    $("title").textContent = `Session ${id.slice(0, 8)}`;
    follow(
      () => watch("SessionService/WatchSession", { sessionId: id, afterSeq: this.#lastSeq }, this.#abort.signal),
      (message) => this.#handle(message), this.#abort.signal, onState,
    ).catch((error) => this.#say("error", `This session cannot be shown: ${error.message}`));
  }

  close() {
    this.#abort.abort();
  }

  #handle(message) {
    const stage = $("stage");
    const atEnd = stage.scrollHeight - stage.scrollTop - stage.clientHeight < 60;
    if (message.partial) this.#partial(message.partial);
    if (message.event) {
      this.#lastSeq = message.event.seq;
      const payload = message.event.payload || {};
      for (const [kind, body] of Object.entries(payload)) this[`on_${kind}`]?.(body, message.event);
    }
    if (atEnd) stage.scrollTop = stage.scrollHeight;
  }

  #say(kind, ...children) {
    const node = el("div", { class: `entry ${kind}` }, ...children);
    $("conversation").append(node);
    return node;
  }

  #run(id) {
    if (!this.#runs.has(id)) this.#runs.set(id, { lastMessage: 0, live: new Map(), status: "" });
    return this.#runs.get(id);
  }

  // Text being written is shown at the end and goes when its message comes.
  #partial(partial) {
    const run = this.#run(partial.runId);
    if (Number(partial.afterRunSeq || 0) < run.lastMessage || finals.includes(run.status)) return;
    const kind = partial.text !== undefined ? "assistant" : "thinking";
    const key = `${partial.agentMessageId}/${partial.blockIndex || 0}`;
    if (!run.live.has(key)) run.live.set(key, this.#say(`${kind} live`));
    run.live.get(key).append(partial.text ?? partial.thinking ?? "");
  }

  #dropLive(run) {
    for (const node of run.live.values()) node.remove();
    run.live.clear();
  }

  on_messageAdded(message, event) {
    const role = word(message.role, "MESSAGE_ROLE_");
    const run = this.#run(event.runId);
    if (role === "assistant" && !message.parentToolUseId) {
      run.lastMessage = Number(event.runSeq || 0);
      this.#dropLive(run);
    }
    const nested = message.parentToolUseId ? " nested" : "";
    for (const block of message.blocks || []) {
      if (block.text) this.#say(role + nested, block.text.text || "");
      if (block.thinking) this.#say(`thinking${nested}`, block.thinking.thinking || "");
      if (block.toolUse) this.#toolUse(block.toolUse, nested);
      if (block.toolResult) this.#toolResult(block.toolResult);
      if (block.other) this.#say("note", `[${block.other.type}]`);
    }
  }

  #toolUse(use, nested) {
    if (shownOtherwise.includes(use.name)) return;
    const input = use.input || {};
    const telling = ["command", "file_path", "notebook_path", "path", "pattern", "url", "query", "description"].find((name) => input[name]);
    const node = el("div", { class: `entry tool${nested}` },
      el("details", {},
        el("summary", {}, el("b", {}, use.name), " ", el("code", {}, this.#relative(String(input[telling] ?? ""))), el("span", { class: "state" }, "…")),
        el("pre", {}, JSON.stringify(input, null, 2))));
    $("conversation").append(node);
    this.#tools.set(use.id, node);
  }

  #toolResult(result) {
    const node = this.#tools.get(result.toolUseId);
    if (!node) return;
    node.querySelector(".state").textContent = result.isError ? "failed" : "done";
    node.classList.toggle("failed", Boolean(result.isError));
    const note = result.truncated ? `\n[cut; ${result.fullSize} bytes in all]` : "";
    node.append(el("pre", { class: "output" }, this.#relative(result.content || "(no output)") + note));
  }

  // The agent's working directory is left out of paths.
  #relative(text) {
    return this.#cwd ? text.replaceAll(`${this.#cwd}/`, "") : text;
  }

  on_todosChanged(changed) {
    this.#todos = changed.todos || [];
    this.#showDetails();
  }

  on_filesChanged(files) {
    this.#files = files;
    this.#showDetails();
  }

  on_usageReported(reported, event) {
    this.#usage.set(event.runId, reported.usage || {});
    this.#showDetails();
  }

  on_exportChanged(change) {
    this.#export = change;
    this.#showDetails();
  }

  on_apiRetried(retry) {
    const why = retry.error || (retry.errorStatus ? `HTTP ${retry.errorStatus}` : "error");
    this.#say("note", `The model call failed (${why}); retry ${retry.attempt} of ${retry.maxRetries} in ${seconds(retry.retryDelay) || "a moment"}`);
  }

  on_notice(notice) {
    this.#say(notice.level === "LEVEL_WARNING" ? "note warning" : "note", notice.text || notice.code);
  }

  on_agentStarted(started) {
    this.#cwd = started.cwd === "/" ? "" : started.cwd || "";
    this.#say("note", `${started.resumed ? "Conversation resumed" : "Agent started"}: ${started.model || "model unknown"}`);
  }

  on_mcpServersChanged(changed) {
    const failed = (changed.servers || []).filter((server) => server.status === "MCP_SERVER_STATUS_FAILED");
    for (const server of failed) this.#say("note warning", `MCP server ${server.name} failed: ${server.error || "no reason given"}`);
  }

  on_runStatusChanged(change, event) {
    const status = word(change.status, "RUN_STATUS_");
    const run = this.#run(event.runId);
    run.status = status;
    if (status === "queued" || status === "claimed") this.activeRun = event.runId;
    if (finals.includes(status)) this.#dropLive(run);
    if (status === "failed" || status === "canceled") {
      this.#say("error", `Run ${status}${change.reason ? ` (${word(change.reason, "RUN_REASON_")})` : ""}`, change.message ? `: ${change.message}` : "");
    }
    badge($("status"), status);
    $("cancel").hidden = finals.includes(status);
  }

  on_sessionUpdated(update) {
    if (update.title) $("title").textContent = update.title;
  }

  on_userInputRequested(request) {
    const node = el("form", { class: "entry question" });
    const inputs = (request.questions || []).map((question, index) => {
      const type = question.multiSelect ? "checkbox" : "radio";
      const name = `${request.userInputRequestId}/${index}`;
      const free = el("input", { type: "text", placeholder: "or in your own words", "aria-label": question.question });
      const boxes = (question.options || []).map((option) => el("input", { type, name, value: option.label }));
      node.append(el("fieldset", {}, el("legend", {}, question.question),
        ...boxes.map((box, i) => el("label", {}, box, " ", el("b", {}, question.options[i].label), " ", question.options[i].description || "")), free));
      return { questionId: question.id, free, boxes };
    });
    const problem = el("span", { role: "alert" });
    node.append(el("div", {}, el("button", { type: "submit", class: "primary" }, "Answer"), " ", problem));
    node.addEventListener("submit", async (event) => {
      event.preventDefault();
      const answers = inputs.map(({ questionId, free, boxes }) => ({
        questionId, selected: boxes.filter((box) => box.checked).map((box) => box.value), otherText: free.value.trim(),
      }));
      if (answers.some(({ selected, otherText }) => !selected.length && !otherText)) {
        problem.textContent = "Please answer every question.";
        return;
      }
      await call("UserInputService/AnswerUserInputRequest", { userInputRequestId: request.userInputRequestId, answers })
        .catch((error) => { problem.textContent = error.message; });
    });
    $("conversation").append(node);
    const texts = new Map((request.questions || []).map((question) => [question.id, question.question]));
    this.#questions.set(request.userInputRequestId, { node, texts });
  }

  on_userInputResolved(resolved) {
    const asked = this.#questions.get(resolved.userInputRequestId);
    if (!asked) return;
    const status = word(resolved.status, "USER_INPUT_STATUS_");
    const lines = (resolved.answers || []).map(({ questionId, selected = [], otherText }) => {
      const given = [selected.join(", "), otherText].filter(Boolean).join(": ");
      return el("p", {}, `${asked.texts.get(questionId)} `, el("b", {}, given));
    });
    asked.node.replaceWith(el("div", { class: "entry question resolved" }, el("p", {}, `Question ${status}`), ...lines));
  }

  #showDetails() {
    const details = $("details");
    const open = new Set([...details.querySelectorAll("details[open]")].map((node) => node.dataset.path));
    const parts = [];
    if (this.#todos.length) {
      parts.push(el("h3", {}, "To do"), el("ul", { class: "todos" }, ...this.#todos.map((todo) => {
        const status = word(todo.status, "TODO_STATUS_").replaceAll(" ", "-");
        return el("li", { class: status }, status === "in-progress" ? todo.activeForm || todo.content : todo.content);
      })));
    }
    if (this.#files?.files?.length) {
      const total = Math.max(Number(this.#files.totalFiles || 0), this.#files.files.length);
      parts.push(el("h3", {}, `${total} ${total === 1 ? "file" : "files"} +${this.#files.totalAdditions || 0} −${this.#files.totalDeletions || 0}`));
      for (const file of this.#files.files) {
        const node = el("details", { "data-path": file.path, open: open.has(file.path) },
          el("summary", {}, `${word(file.status, "FILE_CHANGE_STATUS_")} `, el("code", {}, file.path), ` +${file.additions || 0} −${file.deletions || 0}`),
          file.diff ? diff(file.diff) : el("p", {}, file.binary ? "binary file" : "no diff"));
        parts.push(node);
      }
      const hidden = total - this.#files.files.length;
      if (hidden > 0) parts.push(el("p", {}, `… and ${hidden} more`));
    }
    if (this.#usage.size) {
      let [cost, input, output] = [0, 0, 0];
      for (const usage of this.#usage.values()) {
        cost += usage.totalCostUsd || 0;
        input += Number(usage.inputTokens || 0) + Number(usage.cacheReadInputTokens || 0) + Number(usage.cacheCreationInputTokens || 0);
        output += Number(usage.outputTokens || 0);
      }
      parts.push(el("h3", {}, "Cost"), el("p", {}, `${money(cost)} · ${input} tokens in, ${output} out`));
    }
    if (this.#export) {
      const status = word(this.#export.status, "EXPORT_STATUS_");
      const node = el("p", {}, `${status}${this.#export.reason ? `: ${this.#export.reason}` : ""} `);
      if (status === "ready") node.append(el("button", { type: "button", onclick: () => this.#download() }, "Download zip"));
      if (status === "failed") node.append(el("button", { type: "button", onclick: () => call("SessionService/RetryExport", { sessionId: this.id }) }, "Retry"));
      parts.push(el("h3", {}, "Workspace"), node);
    }
    details.replaceChildren(...parts);
    details.hidden = !parts.length;
  }

  async #download() {
    const { url } = await call("SessionService/GetWorkspaceArchive", { sessionId: this.id });
    window.open(url, "_blank", "noopener");
  }
}
