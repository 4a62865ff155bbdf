// Small helpers for building the page. Text from outside only ever becomes a
// text node.

// el builds an element: el("p", {class: "x", onclick}, "text", child, …).
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null && child !== ""));
  return node;
}

// word turns RUN_STATUS_RUNNING into "running".
export function word(value, prefix) {
  return (value || "").replace(prefix, "").toLowerCase().replaceAll("_", " ");
}

// badge shows a status as a coloured word.
export function badge(node, status) {
  node.hidden = !status;
  node.textContent = status;
  node.className = `badge ${status.replaceAll(" ", "-")}`;
}

// seconds reads the JSON form of a protobuf duration ("1.5s").
export function seconds(duration) {
  return duration ? `${Number.parseFloat(duration).toFixed(1)} s` : "";
}

// money shows US dollars.
export function money(amount) {
  return `$${(amount || 0).toFixed(4)}`;
}

// diff shows a unified diff, a line each.
export function diff(text) {
  const pre = el("pre", { class: "diff" });
  for (const line of text.replace(/\n$/, "").split("\n")) {
    const kind = /^(\+\+\+|---|diff |index |new file|deleted file|similarity|rename )/.test(line) ? "meta"
      : line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : line.startsWith("@@") ? "hunk" : "same";
    pre.append(el("span", { class: kind }, `${line}\n`));
  }
  return pre;
}
