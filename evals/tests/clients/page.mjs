// Opens a report in a browser at two widths, takes pictures, and prints what a reader would notice as JSON.
import { createRequire } from 'node:module';

const { CLIENTS, BROWSER, PAGE, OUT } = process.env;
const { chromium } = createRequire(`${CLIENTS}/`)('playwright-core');

const browser = await chromium.launch({ executablePath: BROWSER, args: ['--no-sandbox'] });
const seen = {};
for (const [name, width, height] of [['desktop', 1280, 900], ['phone', 390, 844]]) {
  const page = await browser.newPage({ viewport: { width, height } });
  const problems = [];
  page.on('console', (message) => problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(String(error)));
  const requests = [];
  page.on('request', (request) => requests.push(request.url()));
  await page.goto(`file://${PAGE}`);
  seen[name] = await page.evaluate(() => {
    const box = (element) => element.getBoundingClientRect();
    const all = (selector) => [...document.querySelectorAll(selector)];
    return {
      title: document.title,
      overflow: document.documentElement.scrollWidth - window.innerWidth,
      columns: new Set(all('.cards .card').map((card) => Math.round(box(card).left))).size,
      cards: all('.cards .card').length,
      plots: all('.plot svg').map((svg) => ({ label: svg.getAttribute('aria-label'), width: box(svg).width, height: box(svg).height })),
      // Nothing of a case may be wider than its place.
      clipped: all('.case, .card, .plot').filter((element) => box(element).right > window.innerWidth + 1).length,
      cases: all('.case').length,
      first: document.querySelector('.case summary').innerText,
      open: document.querySelector('.case').open,
      marks: all('.passage mark').map((mark) => mark.textContent),
      claims: all('.claim').map((claim) => claim.textContent),
      text: document.body.innerText,
    };
  });
  seen[name].requests = requests.length;
  seen[name].problems = problems;
  await page.screenshot({ path: `${OUT}/${name}.png`, fullPage: false });
  // Only what fails, by hand, as a reader would.
  await page.click('label[for=bad]');
  seen[name].failing = await page.evaluate(() => [...document.querySelectorAll('.case')].filter((element) => element.offsetParent !== null).length);
  await page.click('label[for=every]');
  // A marker leads to its passage.
  const marker = page.locator('.case[open] a.marker').first();
  if (await marker.count()) {
    await marker.click();
    seen[name].target = await page.evaluate(() => document.querySelector(':target')?.classList.contains('passage') ?? false);
  }
  await page.screenshot({ path: `${OUT}/${name}-cases.png`, fullPage: false });
  await page.close();
}
await browser.close();
console.log(JSON.stringify(seen));
