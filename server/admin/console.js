// Shows what the node's stream says, one document a second. Text reaches the
// page as textContent only; elements are kept and changed, never made anew while
// they stand for the same thing, so that focus and a reader's place stay.
"use strict";

const WINDOW_MS = 300000;    // of the charts, once it has passed
const WINDOW_LEAST_MS = 60000;
const BROKEN_AFTER_MS = 3000;
const REFUSED_RETRY_MS = 5000;
const STAGES = ["queue", "forward", "fsync", "append", "quorum", "apply", "standby_receive", "standby_fsync", "standby_apply"];

// --- figures as leewardctl's tables write them

function grouped(decimal) {
  return String(decimal).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

function size(bytes) {
  let value = Number(bytes), unit = 0;
  const names = ["B", "KiB", "MiB", "GiB", "TiB"];
  while (value >= 1024 && unit + 1 < names.length) value /= 1024, ++unit;
  return `${value.toFixed(unit === 0 ? 0 : 1)} ${names[unit]}`;
}

function time(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 10000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function age(ms) {
  for (const [unit, length] of [["day", 86400e3], ["hour", 3600e3], ["minute", 60e3]]) {
    const count = Math.floor(ms / length);
    if (count >= 1) return `${count} ${unit}${count === 1 ? "" : "s"}`;
  }
  return `${Math.max(0, Math.floor(ms / 1000))} s`;
}

function count(decimal, noun) {
  return `${grouped(decimal)} ${noun}${String(decimal) === "1" ? "" : "s"}`;
}

function clock(date) {
  return date.toLocaleTimeString([], { hour12: false });
}

// --- elements

const $ = (id) => document.getElementById(id);

function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "class") element.className = value;
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

// A figure that can be read by people and by programs. `value` undefined: it is not known.
function figure(name, value, text) {
  return { name, value, text: value === undefined ? "unknown" : text };
}

// Fills an element with texts and figures, if they differ from what it shows.
function show(element, ...parts) {
  const key = JSON.stringify(parts);
  if (element.shown === key) return;
  element.shown = key;
  element.replaceChildren(...parts.filter((part) => part !== "").map((part) => {
    if (typeof part === "string") return part;
    if (part.note !== undefined) return make("div", { class: "note" }, ...part.note.map((p) => (typeof p === "string" ? p : dataOf(p))));
    return dataOf(part);
  }));
}

function dataOf({ name, value, text }) {
  return make("data", { "data-figure": name, value: value === undefined ? "" : value }, text);
}

// Children of `parent` by key, in order: kept where they are there, made where not, removed where not wanted.
function keep(parent, items, keyOf, create, update) {
  const old = new Map();
  for (const child of [...parent.children]) {
    if (old.has(child.key)) child.remove();
    else old.set(child.key, child);
  }
  let after = null;
  for (const item of items) {
    const key = keyOf(item);
    let child = old.get(key);
    if (child) old.delete(key);
    else {
      child = create(item);
      child.key = key;
    }
    const place = after ? after.nextSibling : parent.firstChild;
    if (child !== place) parent.insertBefore(child, place);
    update(child, item);
    after = child;
  }
  for (const child of old.values()) child.remove();
}

// A word with a sign before it: no state is told by colour alone.
const SIGNS = { good: "✓", bad: "✕", warn: "!", dim: "·" };

function signed(element, tone, text) {
  setClass(element, element.className.replace(/\b(good|bad|warn|dim)\b/g, "").trim() + ` ${tone}`);
  setText(element, `${SIGNS[tone]} ${text}`);
}

// --- what the document means

function memberName(members, id) {
  if (!id || id === "0") return "none";
  const found = members.find((member) => member.id === id);
  return found && found.name ? `${id} (${found.name})` : id;
}

// One reason for all is said once.
function whyNot(standby) {
  const reasons = standby.reasons || [], bad = reasons.filter((reason) => !reason.ok);
  if (bad.length > 1 && bad.length === reasons.length && bad.every((reason) => reason.detail === bad[0].detail)) return bad[0].detail;
  return bad.map((reason) => reason.check).join(", ") || "no verdict yet";
}

function serving(dr) {
  return (dr.groups || []).find((group) => group.role === "primary");
}

function dead(members, region) {
  return !members.some((member) => member.region === region && member.healthy);
}

// Changes only when something has happened: screen readers speak it.
function verdictOf(dr, standbys, members) {
  const primary = serving(dr);
  const sentences = [];
  if (dr.state === "contested") sentences.push("An epoch is contested: neither region serves.");
  else if (!primary) sentences.push("No region is known to serve.");
  else if (dr.region === primary.region && dr.state !== "serving") sentences.push(`Region ${primary.region} is primary and does not serve: ${dr.state}.`);
  else if (primary.region !== dr.region && ["standby", "observer"].includes(dr.role) && !dr.primary_heard) sentences.push(`Region ${primary.region}, the primary, is not heard.`);
  else sentences.push(`Region ${primary.region} serves.`);
  for (const group of dr.groups || []) {
    if (group === primary) continue;
    const own = standbys.filter((standby) => standby.region === group.region);
    const able = own.filter((standby) => standby.promotion_eligible).length;
    if (dead(members, group.region)) sentences.push(`Region ${group.region} is not heard.`);
    else if (group.role === "standby" || group.role === "observer") {
      sentences.push(`Region ${group.region} follows; ${able === 0 ? "no member" : `${able} of ${own.length} members`} may be promoted.`);
    } else {
      sentences.push(`Region ${group.region} is ${group.role}.`);
    }
  }
  return sentences.join(" ");
}

function problemsOf(doc, dr, members) {
  const out = [];
  if (doc.age_ms > 2000) out.push(`What this node knows of itself is ${time(doc.age_ms)} old: its core loop stands still.`);
  if (doc.fault) out.push(`This node cannot tell all: ${doc.fault}`);
  for (const check of doc.checks) if (!check.ok) out.push(`Not ready: ${check.check}${check.detail ? `: ${check.detail}` : ""}`);
  const full = members.filter((member) => member.over_quota).map((member) => member.id);
  if (full.length) out.push(`NOSPACE alarm of member ${full.join(", ")}: no write that makes the state larger is taken.`);
  const down = members.filter((member) => !member.healthy).map((member) => memberName(members, member.id));
  if (down.length) out.push(`Not healthy, or not heard: ${down.join(", ")}`);
  if (dr.contested) out.push(`Epoch ${dr.contested.epoch} was begun by promotion ${dr.contested.promotion_id || "?"} and by ${dr.contested.other_promotion_id}.`);
  if (!doc.node.ledgers_complete) out.push("A ledger says that something is missing in it.");
  if (dr.next_command) out.push(`Next: ${dr.next_command}`);
  return out;
}

function lossParts(loss) {
  if (loss.basis === "none") return [loss.region ? "unknown" : "nothing may be promoted from here"];
  if (loss.basis === "primary" && loss.writes === "0") return [figure("loss.writes", "0", "0 writes"), { note: [`region ${loss.region} has all that is committed here`] }];
  const main = figure("loss.writes", loss.writes, loss.writes === undefined ? "" : count(loss.writes, "write"));
  const note = [];
  if (loss.bytes !== undefined) note.push(figure("loss.bytes", loss.bytes, size(loss.bytes)), ", ", figure("loss.entries", loss.entries, count(loss.entries, "entry").replace("entrys", "entries")));
  const newer = figure("loss.newer_ms", loss.newer_ms, loss.newer_ms === undefined ? "" : time(loss.newer_ms));
  if (loss.basis === "primary") {
    note.push(` that region ${loss.region} lacks, committed in the last `, newer);
  } else if (loss.writes === undefined) {
    note.push("without bound: the primary was never heard");
  } else {
    note.push(" known, and whatever the primary took in the last ", newer);
  }
  return [main, { note }];
}

function figuresOf(doc, cluster, dr) {
  const members = cluster.members || [];
  const fencing = dr.fencing || {};
  const primary = serving(dr);
  const out = [
    { title: "Serving region", parts: [figure("serving", primary ? primary.region : "none", primary ? primary.region : "none"),
                                       primary && dead(members, primary.region) ? { note: ["as far as is known: no member of it is heard"] } : ""] },
    { title: "Epoch", parts: [figure("epoch", dr.epoch, grouped(dr.epoch || 0)),
                              dr.newest_epoch !== dr.epoch ? { note: ["newest known: ", figure("newest_epoch", dr.newest_epoch, grouped(dr.newest_epoch || 0))] } : ""] },
    { title: "Loss if the standby were promoted now", wide: true, parts: lossParts(doc.loss) },
    ...(doc.loss.basis === "follower" ? [{ title: "It would serve in", parts: [figure("loss.estimated_rto_ms", doc.loss.estimated_rto_ms, time(doc.loss.estimated_rto_ms || 0))] }] : []),
    { title: `Leader of ${dr.region || "this region"}`, parts: [figure("leader_id", cluster.leader_id, memberName(members, cluster.leader_id)),
                                          { note: ["term ", figure("term", cluster.term, grouped(cluster.term || 0))] }] },
    { title: "State", parts: [figure("state", dr.state, dr.state)] },
    { title: "Armed to take over", parts: [figure("armed_region", dr.armed_region || "none", dr.armed_region || "none")] },
    { title: "Fencing of the old primary", parts: [figure("fencing.mode", fencing.mode || "none", fencing.mode || "none: nobody is armed"),
        fencing.remaining_ms !== undefined ? { note: ["may acknowledge for ", figure("fencing.remaining_ms", fencing.remaining_ms, time(fencing.remaining_ms))] } : ""] },
    { title: "Revision", parts: [figure("revision", cluster.revision, grouped(cluster.revision || 0)),
                                 { note: ["history index ", figure("position_index", cluster.position_index, grouped(cluster.position_index || 0))] }] },
  ];
  if (dr.role === "standby" || dr.role === "observer")
    out.push({ title: "Primary", parts: [dr.primary_heard ? "heard" : "not heard", { note: ["newest answer asked for ", figure("silence_ms", dr.silence_ms, time(dr.silence_ms || 0)), " ago"] },
                                         { note: [`stream: ${doc.node.stream}`] }] });
  const drill = doc.drill;
  out.push({ title: "Last drill that passed", parts: drill.count === "0" ? [figure("drill.count", "0", "never")]
      : [figure("drill.age_ms", doc.time_ms - drill.time_ms, `${age(doc.time_ms - drill.time_ms)} ago`), { note: ["served after ", figure("drill.rto_ms", drill.rto_ms, time(drill.rto_ms))] }] });
  if (doc.node.promotion) out.push({ title: "Under way here", parts: [`${doc.node.promotion}: ${doc.node.promotion_step}`] });
  if (doc.node.adopting || doc.node.rewinding) out.push({ title: "Another state is taken over", wide: true, parts: [doc.node.adopting || doc.node.rewinding] });
  if (doc.node.ledger_entries !== "0") out.push({ title: "Put aside in ledgers", parts: [figure("ledger_entries", doc.node.ledger_entries, `${grouped(doc.node.ledger_entries)} entries`)] });
  return out;
}

// --- drawing

const samples = new Map();  // member id -> [{at, low, high}]; high undefined: not known then

function note(standbys, at) {
  for (const standby of standbys) {
    const own = samples.get(standby.id) || [];
    own.push({ at, low: standby.lag_low_ms, high: standby.lag_high_ms });
    while (own.length && own[0].at < at - WINDOW_MS) own.shift();
    samples.set(standby.id, own);
  }
}

const CHART = { width: 600, height: 64 };

function makeChart() {
  const parts = { unknown: draw("path", { class: "unknown" }), band: draw("path", { class: "band" }), high: draw("path", { class: "high" }),
                  limit: draw("line", { class: "limit", x1: 0, x2: CHART.width }) };
  const svg = draw("svg", { role: "img", viewBox: `0 0 ${CHART.width} ${CHART.height}`, preserveAspectRatio: "none" }, parts.band, parts.unknown, parts.high, parts.limit);
  const caption = make("figcaption");
  const chart = make("figure", { class: "chart" }, svg, caption);
  chart.parts = { svg, caption, ...parts };
  return chart;
}

// The band from the low to the high bound; where the high one is not known, hatching over the whole height.
function drawChart(chart, own, maxLag, now, who) {
  const known = own.filter((sample) => sample.high !== undefined);
  const highest = Math.max(0, ...known.map((sample) => sample.high));
  const top = Math.max(maxLag * 1.25, highest * 1.1, 1);
  const since = own.length ? now - own[0].at : 0, shown = Math.max(WINDOW_LEAST_MS, since);
  const x = (at) => (CHART.width * (1 - (now - at) / shown)).toFixed(1);
  const y = (ms) => (CHART.height * (1 - Math.min(ms, top) / top)).toFixed(1);
  let band = "", high = "", unknown = "", run = [];
  const close = () => {
    if (!run.length) return;
    const upper = run.map((s) => `${x(s.at)} ${y(s.high)}`), lower = run.map((s) => `${x(s.at)} ${y(s.low || 0)}`).reverse();
    band += `M${[...upper, ...lower].join("L")}Z`;
    high += `M${upper.join("L")}`;
    run = [];
  };
  for (const sample of own) {
    if (run.length && sample.at - run[run.length - 1].at > 5000) close();  // no news in between
    if (sample.high !== undefined) run.push(sample);
    else {
      close();
      unknown += `M${x(sample.at)} ${CHART.height}L${(Number(x(sample.at)) + 4).toFixed(1)} 0`;
    }
  }
  close();
  const { svg, caption, ...parts } = chart.parts;
  parts.band.setAttribute("d", band);
  parts.high.setAttribute("d", high);
  parts.unknown.setAttribute("d", unknown);
  for (const end of ["y1", "y2"]) parts.limit.setAttribute(end, y(maxLag));
  const last = own[own.length - 1] || {};
  const missing = own.length - known.length;
  const text = `Last ${age(since)}, up to ${time(top)}; highest ${known.length ? time(highest) : "unknown"}; dashed: limit ${time(maxLag)}` +
               (missing ? `; hatched: unknown (${missing} of ${own.length})` : "");
  setText(caption, text);
  svg.setAttribute("aria-label", `Lag of ${who}: ${last.high === undefined ? "unknown now" : `${time(last.low || 0)} to ${time(last.high)} now`}. ${text}`);
}

function makeBar() {
  const part = draw("rect", { class: "part", height: 10, y: 0, x: 0 }), rest = draw("rect", { class: "rest", height: 10, y: 0 });
  const bar = draw("svg", { class: "bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" }, rest, part);
  bar.parts = { part, rest };
  return bar;
}

function setBar(bar, part, rest) {
  bar.parts.part.setAttribute("width", (1000 * part).toFixed(0));
  bar.parts.rest.setAttribute("x", (1000 * part).toFixed(0));
  bar.parts.rest.setAttribute("width", (1000 * rest).toFixed(0));
}

// "12 up to 2.5 ms" of the flight recorder; null: no write was in that stage.
function stageOf(text) {
  const found = /^(\d+) (up to|beyond) ([\d.]+) (ms|s)$/.exec(text || "");
  return found && { count: found[1], bound: `${found[2]} ${found[3]} ${found[4]}`, ms: Number(found[3]) * (found[4] === "s" ? 1000 : 1) };
}

// From 0.05 ms, the narrowest bucket, to 10 s.
function share(ms) {
  return Math.max(0.02, Math.min(1, Math.log10(ms / 0.05) / Math.log10(10000 / 0.05)));
}

function showStages(parent, second, all) {
  const stages = STAGES.map((name) => ({ name, ...stageOf(second && second[name]) })).filter((stage) => all || stage.count);
  keep(parent, stages, (stage) => stage.name, (stage) => {
    const row = make("div", { class: "stage" });
    row.parts = { text: make("span"), bar: makeBar() };
    row.append(make("span", {}, stage.name), row.parts.bar, row.parts.text);
    return row;
  }, (row, stage) => {
    setClass(row.parts.text, stage.count ? "" : "dim");
    // The flight recorder leaves out what has no room in an event, and says so.
    setText(row.parts.text, stage.count ? `${count(stage.count, "write")}, ${stage.bound}` : second && second.cut ? "not kept" : "no write");
    setBar(row.parts.bar, stage.count ? share(stage.ms) : 0, 0);
  });
}

// --- sections

function makeMember(member) {
  const item = make("li", { class: "member" });
  const p = item.parts = { heading: make("h4"), state: make("p"), list: make("dl"), values: {} };
  for (const [key, title] of [["applied", "Applied"], ["behind", "Entries behind"], ["data", "Data"], ["heard", "Heard"]]) addValue(item, key, title);
  item.append(make("div", { class: "member-head" }, p.heading, p.state), p.list);
  return item;
}

function addValue(item, key, title, long) {
  const value = make("dd"), row = make("div", long ? { class: "long" } : {}, make("dt", {}, title), value);
  item.parts.list.append(row);
  item.parts.values[key] = value;
  return row;
}

function updateMember(item, member, standby, doc) {
  const { heading, state, values } = item.parts, name = `member.${member.id}`;
  setText(heading, `${member.id} ${member.name} · ${member.zone || "no zone"}`);
  const words = [member.admitted || member.report_age_ms === undefined ? member.state : "not admitted"];
  if (!member.voter) words.push("no vote");
  if (member.paused) words.push("paused");
  if (member.standing_reason) words.push(member.standing_reason);
  const heard = member.report_age_ms !== undefined;
  signed(state, member.healthy ? "good" : "bad", `${words.join(", ")}; ${member.healthy ? "healthy" : heard ? "not healthy" : "never heard"}`);
  show(values.applied, figure(`${name}.applied_index`, member.applied_index, grouped(member.applied_index)));
  show(values.behind, figure(`${name}.lag_entries`, member.lag_entries, grouped(member.lag_entries || 0)));
  show(values.data, figure(`${name}.db_bytes`, member.db_bytes, size(member.db_bytes)));
  show(values.heard, heard ? figure(`${name}.report_age_ms`, member.report_age_ms, `${time(member.report_age_ms)} ago`) : "never");
  updateStandby(item, member, standby, doc);
}

function updateStandby(item, member, standby, doc) {
  const { list, values } = item.parts;
  if (!standby) {
    if (item.standby) item.standby.forEach((element) => element.remove());
    item.standby = null;
    return;
  }
  if (!item.standby) {
    const lag = addValue(item, "lag", "Lag", true);
    const verdict = make("summary"), reasons = make("ul"), details = make("details", {}, verdict, reasons), chart = makeChart();
    list.after(details, chart);
    Object.assign(item.parts, { verdict, reasons, chart });
    item.standby = [lag, details, chart];
  }
  const name = `member.${member.id}`;
  const known = standby.lag_high_ms !== undefined;
  show(values.lag,
       ...(known ? [figure(`${name}.lag_low_ms`, standby.lag_low_ms, time(standby.lag_low_ms || 0)), " to ", figure(`${name}.lag_high_ms`, standby.lag_high_ms, time(standby.lag_high_ms))]
                 : [figure(`${name}.lag_high_ms`, undefined)]),
       ...(standby.lag_writes === undefined ? [] : [{ note: [figure(`${name}.lag_writes`, standby.lag_writes, count(standby.lag_writes, "write")), ", ",
                                                            figure(`${name}.lag_bytes`, standby.lag_bytes, size(standby.lag_bytes || 0)),
                                                            `; stream ${standby.connected ? "connected" : "down"}`] }]));
  signed(item.parts.verdict, standby.promotion_eligible ? "good" : "bad",
         standby.promotion_eligible ? "may be promoted" : `may not be promoted: ${whyNot(standby)}`);
  item.parts.verdict.dataset.eligible = standby.promotion_eligible;
  keep(item.parts.reasons, standby.reasons || [], (reason) => reason.check, () => make("li"), (row, reason) => {
    signed(row, reason.ok ? "good" : "bad", `${reason.check}${reason.detail ? `: ${reason.detail}` : ""}`);
  });
  drawChart(item.parts.chart, samples.get(member.id) || [], doc.max_lag_ms, lastAt, `member ${member.id}`);
}

function showRegions(doc, cluster, dr, standbys) {
  const members = cluster.members || [];
  const groups = [...(dr.groups || [])].sort((a, b) => (a.region < b.region ? -1 : 1));
  keep($("regions"), groups, (group) => group.region, (group) => {
    const card = make("article", { class: "region", "aria-label": `Region ${group.region || "without a name"}` });
    const badge = make("span", { class: "badge" });
    card.parts = { badge, line: make("p", { class: "dim" }), members: make("ul", { "aria-label": `Members of ${group.region}` }) };
    card.append(make("h3", {}, `${group.region || "region not named"} `, badge), card.parts.line, card.parts.members);
    return card;
  }, (card, group) => {
    const own = members.filter((member) => member.region === group.region);
    const healthy = own.filter((member) => member.healthy).length;
    const tone = own.length && healthy === 0 ? "bad" : group.role === "primary" ? "good" : group.role === "standby" || group.role === "observer" ? "dim" : group.role === "fenced" ? "bad" : "warn";
    card.dataset.role = group.role;
    signed(card.parts.badge, tone, group.role);
    const name = `region.${group.region}`;
    show(card.parts.line, "leader ", figure(`${name}.leader_id`, group.leader_id, memberName(members, group.leader_id)),
         ...(group.epoch ? [" · epoch ", figure(`${name}.epoch`, group.epoch, grouped(group.epoch))] : []),
         " · history index ", figure(`${name}.position_index`, group.position_index, grouped(group.position_index)),
         ` · ${healthy} of ${own.length} healthy`);
    keep(card.parts.members, own, (member) => member.id, makeMember,
         (item, member) => updateMember(item, member, standbys.find((standby) => standby.id === member.id), doc));
  });
}

function showSlow(doc) {
  $("slow-none").hidden = doc.slow.length > 0;
  $("slow").hidden = doc.slow.length === 0;
  keep($("slow"), doc.slow, (slow) => `${slow.request.ts} ${slow.request.peer} ${slow.request.took_ms}`, (slow) => {
    const item = make("li"), bar = makeBar(), stages = make("div", { class: "stages" });
    const r = slow.request, took = Number(r.took_ms), wait = Number(r.wait_ms);
    setBar(bar, took ? wait / took : 0, took ? 1 - wait / took : 0);
    const title = make("p", {}, make("strong", {}, `${r.method} `), dataOf(figure("slow.took_ms", r.took_ms, time(took))),
                       `, of it ${time(wait)} waiting for consensus (left part)`);
    const details = make("details", {}, make("summary", {}, `${clock(new Date(r.ts))} · ${r.code} · from ${r.peer}; stages of that second`), stages);
    item.append(title, bar, details);
    item.parts = { stages, details };
    return item;
  }, (item, slow) => {
    if (slow.second) showStages(item.parts.stages, slow.second, false);
  
  });
}

const TONES = { error: "bad", warn: "warn", info: "dim", debug: "dim" };

function showEvents(doc) {
  const seen = new Map();  // two events may be told alike
  const keyOf = (event) => {
    const text = JSON.stringify(event), nth = seen.get(text) || 0;
    seen.set(text, nth + 1);
    return `${nth} ${text}`;
  };
  keep($("events"), doc.events, keyOf, ({ ts, level, msg, ...fields }) => {
    const mark = make("span");
    signed(mark, TONES[level] || "dim", level);
    const rest = Object.entries(fields).map(([key, value]) => `${key}=${value}`).join("  ");
    return make("li", {}, make("time", { class: "dim", datetime: ts }, clock(new Date(ts))), " ", mark, ` ${msg} `, make("span", { class: "dim" }, rest));
  }, () => {});
}

function showHistory(dr) {
  const epochs = [...(dr.history || [])].reverse();
  $("history-none").hidden = epochs.length > 0;
  keep($("history"), epochs, (epoch) => epoch.promotion_id, () => make("li"), (item, epoch) => {
    const measured = epoch.measured_loss_writes === undefined ? "not measured yet"
      : `measured ${epoch.measured_loss_open ? "at least " : ""}${count(epoch.measured_loss_writes, "write")}`;
    setText(item, `Epoch ${epoch.epoch}: region ${epoch.region}, ${epoch.planned ? "planned" : epoch.forced ? "forced" : "unplanned"}, ${epoch.time}` +
      ` by ${epoch.operator || "unknown"}${epoch.reason ? ` (${epoch.reason})` : ""}; lost: announced ${count(epoch.announced_loss_writes, "write")}` +
      `${epoch.announced_loss_open ? " and what was not heard of" : ""}, ${measured}`);
  });
}

let lastAt = 0;       // when the newest document came, by this browser's clock
let received = 0, rendered = 0;  // documents; the page's elements tell programs
let paused = false;
let refused = "";
let latest = null;
let title = "Leeward";

function render(doc) {
  const told = doc.leewardctl || {};
  const cluster = told.cluster_status || {}, dr = told.dr_status || {}, standbys = (told.standby_status || {}).standbys || [];
  const members = cluster.members || [];
  const me = members.find((member) => member.id === cluster.node_id);
  setText($("title"), `${cluster.cluster || "Leeward"}`);
  setText($("seen"), `as node ${cluster.node_id || "?"}${me ? ` (${me.name})` : ""}${dr.region ? ` in ${dr.region}` : ""} knows it${cluster.waiting_for ? `; it waits for ${cluster.waiting_for}` : ""}`);
  const problems = problemsOf(doc, dr, members);
  title = `${problems.length ? "✕" : "✓"} ${cluster.cluster || "Leeward"} · ${me ? me.name : cluster.node_id}`;
  setText($("verdict"), verdictOf(dr, standbys, members));
  keep($("problems"), problems, (text) => text.replace(/[\d.]+ ?(ms|s)\b/g, ""), () => make("li"), (item, text) => setText(item, `${SIGNS.bad} ${text}`));
  keep($("figures"), figuresOf(doc, cluster, dr), (f) => f.title, (f) => {
    const value = make("dd"), box = make("div", f.wide ? { class: "wide" } : {}, make("dt", {}, f.title), value);
    box.parts = { value };
    return box;
  }, (box, f) => show(box.parts.value, ...f.parts));
  showRegions(doc, cluster, dr, standbys);
  showStages($("stages"), doc.second, true);
  showSlow(doc);
  showHistory(dr);
  showEvents(doc);
  setText($("lineage"), `lineage ${dr.lineage || "not known yet"} · state hash ${(cluster.state_hash || "").slice(0, 16)} at history index ${grouped(cluster.position_index || 0)}`);
  rendered += 1;
  document.documentElement.dataset.document = rendered;
}

function take(doc) {
  lastAt = Date.now();
  latest = doc;
  refused = "";
  note(((doc.leewardctl || {}).standby_status || {}).standbys || [], lastAt);
  received += 1;
  document.documentElement.dataset.received = received;
  if (!paused) render(doc);
  tell();
}

// Whether what the page shows is of now: said once as an alert, then counted beside it.
function tell() {
  const silent = Date.now() - lastAt, live = $("live"), broken = $("broken");
  const isBroken = refused !== "" || (lastAt !== 0 && silent > BROKEN_AFTER_MS);
  if (isBroken !== !broken.hidden) broken.hidden = !isBroken;
  const wanted = isBroken ? `✕ stale · ${title}` : title;
  if (document.title !== wanted) document.title = wanted;
  document.documentElement.dataset.live = isBroken ? "broken" : paused ? "paused" : lastAt ? "live" : "waiting";
  if (isBroken) {
    const since = lastAt ? `What stands below is as of ${clock(new Date(lastAt))}.` : "";
    setText(broken, `${refused || "No news of this node: it is down, or cannot be reached."} ${since}`);
    signed(live, "bad", lastAt ? `stale for ${age(silent)}` : "not live");
  } else if (paused) {
    signed(live, "warn", "paused");
  } else if (lastAt) {
    signed(live, "good", `live, ${clock(new Date(lastAt))}`);
  }
}

// The browser connects again by itself when a stream breaks, but not when it is refused.
function connect() {
  const source = new EventSource("console/events");
  source.onmessage = (event) => take(JSON.parse(event.data));
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED) return;
    refused = "This node refuses the stream: too many consoles are open here, or you are no operator of it.";
    tell();
    setTimeout(connect, REFUSED_RETRY_MS);
  };
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  if (!paused && latest) render(latest);
  tell();
});
setInterval(tell, 500);
connect();
