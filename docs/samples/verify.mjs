// A receiver that believes only what is signed. It needs Node.js and nothing else.
//
// WEBHOOK_SECRETS="whsec_…" PORT=9000 node verify.mjs

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const secrets = process.env.WEBHOOK_SECRETS.split(" "); // two of them while one is being exchanged
const toleranceSeconds = 300;

// Check `webhook-signature`, which covers the event's id, the time and the body.
function isGenuine(headers, body) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  const now = Date.now() / 1000;
  if (!/^[0-9]{1,12}$/.test(timestamp) || Math.abs(now - Number(timestamp)) > toleranceSeconds) return false;
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), body]);
  const expected = secrets.map((secret) => {
    const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    return "v1," + createHmac("sha256", key).update(signed).digest("base64");
  });
  return holdsOne((headers["webhook-signature"] ?? "").split(" "), expected);
}

// Check `X-Hub-Signature-256`, which covers the body alone.
function isGenuineByHub(headers, body) {
  const expected = secrets.map((secret) => "sha256=" + createHmac("sha256", secret).update(body).digest("hex"));
  return holdsOne([headers["x-hub-signature-256"] ?? ""], expected);
}

// Not `===`: that ends at the first letter that differs, and so tells how much was right.
function holdsOne(sent, expected) {
  const same = (one, other) => one.length === other.length && timingSafeEqual(one, other);
  return sent.some((one) => expected.some((other) => same(Buffer.from(one), Buffer.from(other))));
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks); // the bytes as they came: read them as JSON after the check
  const check = request.url === "/hub" ? isGenuineByHub : isGenuine;
  // Genuine: keep the body under its webhook-id, answer, and work on it afterwards. It may come again.
  response.writeHead(check(request.headers, body) ? 204 : 401).end();
});

server.listen(Number(process.env.PORT), "127.0.0.1");
