// Runs in the web phone's page before its own scripts, of a test call only: tells what the phone
// does in the words of the other user agents, plays and stops the microphone, and records what is
// heard. CODEC and SUITES are put in front.
(() => {
  "use strict";
  const call = { sender: null, track: null, connection: null, chunks: [], rate: 0 };
  const tell = (kind, data = {}) => tellVoip(JSON.stringify({ kind, at: Date.now(), ...data }));

  const words = {
    registered: () => tell("REGISTER_OK"),
    refused: ({ reason }) => tell("REGISTER_FAIL", { param: reason }),
    sending: () => tell("CALL_LOCAL_SDP"),
    incoming: ({ id }) => tell("CALL_INCOMING", { id }),
    ringing: () => tell("CALL_RINGING"),
    answered: ({ id }) => tell("CALL_ESTABLISHED", { id }),
    ended: ({ reason }) => tell("CALL_CLOSED", { param: reason }),
  };
  document.addEventListener("phone", ({ detail }) => words[detail.kind]?.(detail));

  const Connection = RTCPeerConnection;
  window.RTCPeerConnection = class extends Connection {
    constructor(...settings) {
      super(...settings);
      Object.assign(call, { connection: this, chunks: [] });
      this.addEventListener("track", ({ track }) => record(track));
      this.addEventListener("connectionstatechange", () => {
        if (this.connectionState === "connected") follow();
      });
    }

    // The call begins quiet: nothing is sent before play().
    addTrack(track, ...streams) {
      call.track = track;
      call.sender = super.addTrack(track, ...streams);
      call.sender.replaceTrack(null);
      return call.sender;
    }

    createOffer(...options) {
      this.#oneCodec();
      return super.createOffer(...options);
    }

    createAnswer(...options) {
      this.#oneCodec();
      return super.createAnswer(...options);
    }

    #oneCodec() {
      const known = RTCRtpReceiver.getCapabilities("audio").codecs;
      const wanted = [`audio/${CODEC}`, "audio/telephone-event"];
      for (const transceiver of this.getTransceivers()) {
        transceiver.setCodecPreferences(known.filter(({ mimeType }) => wanted.includes(mimeType)));
      }
    }
  };

  async function record(track) {
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const part = new Float32Array(value.numberOfFrames);
      value.copyTo(part, { planeIndex: 0, format: "f32-planar" });
      call.rate = value.sampleRate;
      call.chunks.push(part);
      value.close();
    }
  }

  // Its keys, then its first packet: each is told once.
  async function follow() {
    let isTold = false;
    for (;;) {
      const { srtp, received } = await state();
      if (srtp && !isTold) {
        isTold = true;
        tell("CALL_MENC", { param: `0,audio,${srtp}` });
      }
      if (isTold && received) {
        tell("CALL_RTPESTAB");
        return;
      }
      if (call.connection.connectionState !== "connected") return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async function state() {
    const reports = [...(await call.connection.getStats()).values()];
    const of = (type) => reports.find((item) => item.type === type) ?? {};
    const by = (id) => reports.find((item) => item.id === id) ?? {};
    const [transport, sent, received] = [of("transport"), of("outbound-rtp"), of("inbound-rtp")];
    const own = by(by(transport.selectedCandidatePairId).localCandidateId);
    const codec = (stream) => by(stream.codecId).mimeType?.split("/")[1] ?? null;
    return {
      srtp: transport.dtlsState === "connected" ? SUITES[transport.srtpCipher] ?? null : null,
      address: own.address ?? null,
      port: own.port ?? null,
      sent: sent.packetsSent ?? null,
      received: received.packetsReceived ?? null,
      codecSent: codec(sent),
      codecReceived: codec(received),
    };
  }

  window.voip = {
    state,
    play: () => call.sender.replaceTrack(call.track),
    quiet: () => call.sender.replaceTrack(null),
    descriptions: () => ({
      local: call.connection.localDescription.sdp,
      remote: call.connection.remoteDescription.sdp,
    }),
    // 16-bit samples, base64.
    recording() {
      const count = call.chunks.reduce((sum, part) => sum + part.length, 0);
      const samples = new Int16Array(count);
      let at = 0;
      for (const part of call.chunks) {
        for (const value of part) samples[at++] = Math.max(-1, Math.min(1, value)) * 32767;
      }
      let text = "";
      const bytes = new Uint8Array(samples.buffer);
      for (let from = 0; from < bytes.length; from += 8192) {
        text += String.fromCharCode(...bytes.subarray(from, from + 8192));
      }
      return { rate: call.rate, data: btoa(text) };
    },
  };
})();
