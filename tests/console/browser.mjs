// A headless Chromium that does what the test tells it: a JSON object a line in,
// one out. Ends with its standard input.
import readline from "node:readline";
import axe from "axe-core";
import { chromium } from "playwright-core";

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
const pages = new Map();  // name -> page, with what it logged and asked for

// Within the page: what it shows.
function seen() {
  const figures = {};
  for (const data of document.querySelectorAll("data[data-figure]"))
    figures[data.dataset.figure] = { value: data.value, text: data.textContent };
  const texts = (selector) => [...document.querySelectorAll(selector)].map((element) => element.textContent);
  const root = document.documentElement;
  return {
    figures, document: Number(root.dataset.document || 0), received: Number(root.dataset.received || 0), live: root.dataset.live, title: document.title,
    verdict: document.getElementById("verdict").textContent, problems: texts("#problems li"), events: texts("#events li"), slow: texts("#slow > li"),
    history: texts("#history li"), roles: Object.fromEntries([...document.querySelectorAll(".region")].map((r) => [r.getAttribute("aria-label"), r.dataset.role])),
    states: texts(".member-head p"), eligible: texts(".member summary"), charts: [...document.querySelectorAll(".chart svg")].map((svg) => svg.getAttribute("aria-label")),
    broken: document.getElementById("broken").hidden ? "" : document.getElementById("broken").textContent, status: document.getElementById("live").textContent,
    bands: [...document.querySelectorAll(".chart .band")].map((path) => path.getAttribute("d")), markup: document.querySelectorAll("img, iframe, object").length,
    body: document.body.innerText,
  };
}

// Within the page: what does not fit, and which text is too faint on what lies behind it.
function faults() {
  const root = document.documentElement, out = [];
  if (root.scrollWidth > root.clientWidth) out.push(`scrolls sideways: ${root.scrollWidth} in ${root.clientWidth}`);
  const parse = (color) => color.match(/[\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = color.map((part) => ((part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color.slice(0, 3);
      if (color[3] !== 0) out.push("a background that shows what is behind it");
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = 21, texts = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest("noscript") || element.closest("svg")) continue;
    const box = element.getBoundingClientRect();
    if (box.right < 0) continue;  // the link that shows when it has the focus
    if (box.width > 0 && (box.left < -0.5 || box.right > root.clientWidth + 0.5)) out.push(`out of sight: ${text.slice(0, 40)}`);
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(style.color).slice(0, 3)), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    least = Math.min(least, ratio);
    texts += 1;
    if (ratio < 4.5) out.push(`contrast ${ratio.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  return { faults: [...new Set(out)], least, texts };
}

const commands = {
  async open({ name, url, width = 1280, height = 900, dark = false }) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce" });
    const page = await context.newPage();
    page.logged = [];
    page.asked = [];
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.logged.push(message.text()));
    page.on("pageerror", (error) => page.logged.push(String(error)));
    page.on("request", (request) => page.asked.push(request.url()));
    pages.set(name, page);
    const answer = await page.goto(url);
    return { status: answer.status(), headers: answer.headers() };
  },
  async look({ name, documents = 1, timeout = 30000 }) {
    const page = pages.get(name);
    const shown = () => page.evaluate(() => Number(document.documentElement.dataset.document || 0));  // no waitForFunction: the policy forbids its eval
    const wanted = (await shown()) + documents, end = Date.now() + timeout;
    while ((await shown()) < wanted) {
      if (Date.now() > end) throw new Error(`no ${documents} documents in ${timeout} ms`);
      await new Promise((go) => setTimeout(go, 20));
    }
    return await page.evaluate(seen);
  },
  async now({ name }) {
    return await pages.get(name).evaluate(seen);
  },
  async resize({ name, width, height = 900, dark }) {
    await pages.get(name).setViewportSize({ width, height });
    if (dark !== undefined) await pages.get(name).emulateMedia({ colorScheme: dark ? "dark" : "light" });
    return {};
  },
  async audit({ name }) {
    const page = pages.get(name);
    await page.evaluate(axe.source);
    const found = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    return { ...(await page.evaluate(faults)), passes: found.passes.length,
             violations: found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 120)).join(" | ")}`) };
  },
  async shot({ name, path, full = true }) {
    await pages.get(name).screenshot({ path, fullPage: full });
    return {};
  },
  async press({ name, key, times = 1 }) {
    for (let i = 0; i < times; ++i) await pages.get(name).keyboard.press(key);
    return await pages.get(name).evaluate(() => {
      const e = document.activeElement, style = getComputedStyle(e);
      return { tag: e.tagName, id: e.id, text: e.textContent.slice(0, 80), outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
               pressed: e.getAttribute("aria-pressed"), open: e.parentElement && e.parentElement.open === true };
    });
  },
  async evaluate({ name, script }) {
    return { value: await pages.get(name).evaluate(`(${script})()`) };
  },
  async complaints({ name }) {
    const page = pages.get(name);
    return { logged: page.logged.splice(0), asked: page.asked.splice(0) };
  },
  async close({ name }) {
    await pages.get(name).context().close();
    pages.delete(name);
    return {};
  },
};

process.stdout.write(`${JSON.stringify({ version: browser.version() })}\n`);
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  let answer;
  try {
    answer = await commands[command](options);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
