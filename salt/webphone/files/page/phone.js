"use strict";

// The telephone behind the page: one account, one call at a time. It knows nothing of the page;
// what happens it tells by events "phone" on `document`, detail: {kind, ...}.
//   registered | unregistered | refused {reason}
//   sending | incoming {from, id} | ringing | answered {id} | ended {reason}
window.phone = {
  ua: null,
  session: null,

  // Sign in at `proxy` (wss://…). The password stays in this object's memory.
  signIn({ number, domain, password, proxy }) {
    this.signOut();
    this.ua = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(proxy)],
      uri: `sip:${number}@${domain}`,
      authorization_user: number,
      password,
      register_expires: 300,
      session_timers: false,
      user_agent: "voip-stack web phone",
    });
    this.ua.on("registered", () => this.tell("registered"));
    this.ua.on("unregistered", () => this.tell("unregistered"));
    this.ua.on("registrationFailed", (event) => this.tell("refused", { reason: reason(event) }));
    this.ua.on("disconnected", (event) => {
      if (event.error) this.tell("refused", { reason: "no connection with the proxy" });
    });
    this.ua.on("newRTCSession", (event) => this.take(event));
    this.ua.start();
  },

  signOut() {
    if (this.ua) this.ua.stop();
    this.ua = null;
  },

  // processing: the browser's reduction of echo and noise, which takes a test tone for noise.
  call(target, processing) {
    this.ua.call(`sip:${target}@${this.ua.configuration.uri.host}`, media(processing));
  },

  answer(processing) {
    this.session.answer(media(processing));
  },

  hangUp() {
    if (!this.session) return;
    const incoming = this.session.direction === "incoming" && !this.session.isEstablished();
    this.session.terminate(incoming ? { status_code: 486 } : undefined);
  },

  take({ originator, session, request }) {
    if (this.session) {
      session.terminate({ status_code: 486 });
      return;
    }
    this.session = session;
    const end = (event) => {
      this.session = null;
      this.tell("ended", { reason: reason(event) });
    };
    session.on("progress", () => { if (originator === "local") this.tell("ringing"); });
    session.on("sending", () => this.tell("sending"));
    session.on("accepted", () => this.tell("answered", { id: request.call_id }));
    session.on("ended", end);
    session.on("failed", end);
    session.on("peerconnection", ({ peerconnection }) => this.listen(peerconnection));
    if (session.connection) this.listen(session.connection);
    if (originator === "remote") {
      this.tell("incoming", { from: session.remote_identity.uri.user, id: request.call_id });
    }
  },

  listen(connection) {
    connection.addEventListener("track", ({ track }) => {
      this.tell("heard", { stream: new MediaStream([track]) });
    });
  },

  // {sent, heard}: levels in dBFS of the call's two directions, -60 for silence or without a call.
  async levels() {
    const found = { sent: -60, heard: -60 };
    const reports = this.session?.connection ? await this.session.connection.getStats() : new Map();
    for (const item of reports.values()) {
      if (item.kind !== "audio" || item.audioLevel === undefined) continue;
      const level = Math.max(-60, 20 * Math.log10(item.audioLevel || 1e-3));
      if (item.type === "media-source") found.sent = level;
      if (item.type === "inbound-rtp") found.heard = level;
    }
    return found;
  },

  // {codec, srtp, dtls} of the call's media; null until it flows.
  async protection() {
    if (!this.session?.connection) return null;
    const reports = [...(await this.session.connection.getStats()).values()];
    const transport = reports.find((item) => item.type === "transport" && item.srtpCipher);
    const stream = reports.find((item) => item.type === "inbound-rtp" && item.codecId);
    if (!transport || !stream) return null;
    const codec = reports.find((item) => item.id === stream.codecId);
    return { codec: codec.mimeType.split("/")[1], srtp: transport.srtpCipher, dtls: transport.tlsVersion };
  },

  tell(kind, more = {}) {
    document.dispatchEvent(new CustomEvent("phone", { detail: { kind, ...more } }));
  },
};

function media(processing) {
  return {
    mediaConstraints: {
      audio: {
        echoCancellation: processing,
        noiseSuppression: processing,
        autoGainControl: processing,
      },
      video: false,
    },
    pcConfig: { iceServers: [] },
  };
}

// The SIP answer where there was one ("486 Busy Here"), else JsSIP's cause.
function reason(event) {
  const answer = event.message ?? event.response;
  return answer?.status_code ? `${answer.status_code} ${answer.reason_phrase}` : String(event.cause);
}
