"use strict";

// The page: what people type goes to the phone (phone.js), what the phone tells is shown.
const byId = (id) => document.getElementById(id);
const phone = window.phone;
let account = "";
let meters = null;

function show(text, state) {
  byId("status").textContent = text;
  byId("status").dataset.state = state;
}

function ready() {
  const signedIn = phone.ua !== null && phone.ua.isRegistered();
  show(signedIn ? `${account} is ready` : "Signed out", signedIn ? "ready" : "offline");
}

function allow() {
  const signedIn = phone.ua !== null && phone.ua.isRegistered();
  const session = phone.session;
  const rings = session !== null && session.direction === "incoming" && !session.isEstablished();
  for (const id of ["number", "domain", "password", "proxy", "sign-in"]) byId(id).disabled = signedIn;
  byId("sign-out").disabled = phone.ua === null || session !== null;
  byId("target").disabled = byId("call").disabled = !signedIn || session !== null;
  byId("call").hidden = rings;
  byId("answer").hidden = !rings;
  byId("hang-up").disabled = session === null;
  byId("hang-up").textContent = rings ? "Decline" : "Hang up";
}

const shown = {
  registered: () => { if (!phone.session) ready(); },
  unregistered: ready,
  refused: ({ reason }) => {
    show(`Not signed in: ${reason}`, "failed");
  },
  sending: () => show("Calling…", "ready"),
  ringing: () => show("Ringing…", "ready"),
  incoming: ({ from }) => show(`${from} is calling`, "ready"),
  answered: () => {
    show("In a call", "talking");
    clearInterval(meters);
    meters = setInterval(measure, 200);
  },
  heard: ({ stream }) => { byId("sound").srcObject = stream; },
  ended: ({ reason }) => {
    clearInterval(meters);
    byId("level-out").value = byId("level-in").value = -60;
    byId("media").textContent = "";
    show(`Call ended: ${reason}`, "ready");
  },
};

async function measure() {
  const { sent, heard } = await phone.levels();
  byId("level-out").value = sent;
  byId("level-in").value = heard;
  const media = await phone.protection();
  if (media && phone.session) byId("media").textContent = `${media.codec}, encrypted by DTLS-SRTP (${media.srtp})`;
}

document.addEventListener("phone", ({ detail }) => {
  shown[detail.kind](detail);
  allow();
});

byId("account").addEventListener("submit", (event) => {
  event.preventDefault();
  account = byId("number").value;
  show("Signing in…", "offline");
  phone.signIn({
    number: account,
    domain: byId("domain").value,
    password: byId("password").value,
    proxy: byId("proxy").value,
  });
  byId("password").value = "";
});

byId("sign-out").addEventListener("click", () => {
  phone.signOut();
  ready();
  allow();
});

byId("dial").addEventListener("submit", (event) => {
  event.preventDefault();
  phone.call(byId("target").value, byId("processing").checked);
  allow();
});

byId("answer").addEventListener("click", () => phone.answer(byId("processing").checked));
byId("hang-up").addEventListener("click", () => phone.hangUp());
addEventListener("pagehide", () => phone.signOut());

async function prepare() {
  const settings = await (await fetch("settings.json")).json();
  byId("domain").value = settings.domain;
  for (const { name, url } of settings.proxies) byId("proxy").add(new Option(name, url));
  byId("choice").hidden = settings.proxies.length < 2;
  document.body.dataset.ready = "yes";
}

prepare().catch((error) => show(`The page's settings could not be read: ${error.message}`, "failed"));
