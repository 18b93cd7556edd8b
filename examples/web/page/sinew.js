// The scalability protocols in a web page: SUB, REQ, PUSH and RESPONDENT over WebSocket, as sinew, NNG, nanomsg and
// mangos speak them. A plain module without dependencies.
//
// Each object keeps a connection to one address, and makes a new one when it is lost, at once and then after growing
// pauses. `onstate` is called with true when it stands and with false when it is lost. Bodies are Uint8Array; a string
// is sent as UTF-8, and `text(body)` makes one of what was received.

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const bytes = (body) => (typeof body === "string" ? encoder.encode(body) : body);

export const text = (body) => decoder.decode(body);

const join = (head, body) => {
  const message = new Uint8Array(head.length + body.length);
  message.set(head);
  message.set(body, head.length);
  return message;
};

// The pauses between attempts in milliseconds: the first, and the longest.
const FIRST = 100;
const LONGEST = 5000;

class Connection {
  onstate = () => {};
  #socket = null;
  #pause = FIRST;
  #timer = null;
  #isClosed = false;

  // `server` is the type of the socket at the other end, which the subprotocol names.
  constructor(url, server) {
    this.url = url;
    this.server = server;
    // After the constructor of the subclass.
    queueMicrotask(() => this.#connect());
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
  }

  transmit(message) {
    if (this.isOpen) this.#socket.send(message);
    return this.isOpen;
  }

  // What a protocol does when the connection stands, and with a message.
  opened() {}
  received(_message) {}

  #connect() {
    if (this.#isClosed) return;
    const socket = new WebSocket(this.url, `${this.server}.sp.nanomsg.org`);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => {
      this.#pause = FIRST;
      this.onstate(true);
      this.opened();
    };
    socket.onmessage = ({ data }) => this.received(new Uint8Array(data));
    // Also called when an attempt has failed.
    socket.onclose = () => {
      this.onstate(false);
      // Random, so that the pages of a server that returns do not all come at the same moment.
      this.#timer = setTimeout(() => this.#connect(), this.#pause * (0.5 + Math.random() / 2));
      this.#pause = Math.min(2 * this.#pause, LONGEST);
    };
  }
}

// Receives what a PUB sends, as far as it begins with one of the topics; "" is all.
export class Sub extends Connection {
  #topics = [];

  constructor(url, onmessage) {
    super(url, "pub");
    this.onmessage = onmessage;
  }

  subscribe(topic) {
    this.#topics.push(bytes(topic));
    return this;
  }

  received(message) {
    const matches = (topic) => topic.every((byte, at) => byte === message[at]);
    if (this.#topics.some((topic) => topic.length <= message.length && matches(topic))) {
      this.onmessage(message);
    }
  }
}

// Sends to a PULL. What is sent while there is no connection waits, up to 1,000 messages.
export class Push extends Connection {
  #waiting = [];

  constructor(url) {
    super(url, "pull");
  }

  // Says whether the message was taken.
  send(body) {
    if (this.transmit(bytes(body))) return true;
    return this.#waiting.length < 1000 && this.#waiting.push(bytes(body)) > 0;
  }

  opened() {
    for (const message of this.#waiting.splice(0)) this.send(message);
  }
}

// Asks a REP. Any number of requests may be under way; one whose connection is lost is sent again over the next.
export class Req extends Connection {
  #next = crypto.getRandomValues(new Uint32Array(1))[0];
  #pending = new Map();

  constructor(url) {
    super(url, "rep");
  }

  // Resolves with the reply.
  request(body) {
    // The highest bit ends the header: there is nothing in front of the number.
    const id = (this.#next++ | 0x80000000) >>> 0;
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, id);
    const message = join(head, bytes(body));
    return new Promise((resolve) => {
      this.#pending.set(id, { message, resolve });
      this.transmit(message);
    });
  }

  opened() {
    for (const { message } of this.#pending.values()) this.transmit(message);
  }

  received(message) {
    if (message.length < 4) return;
    const id = new DataView(message.buffer, message.byteOffset).getUint32(0);
    this.#pending.get(id)?.resolve(message.subarray(4));
    this.#pending.delete(id);
  }
}

// Answers the questions of a SURVEYOR with what `onsurvey` returns; undefined is no answer.
export class Respondent extends Connection {
  constructor(url, onsurvey) {
    super(url, "surveyor");
    this.onsurvey = onsurvey;
  }

  received(message) {
    // The header: words up to the one whose highest bit is set. It goes back in front of the answer.
    let end = 0;
    do {
      end += 4;
      if (end > message.length) return;
    } while (message[end - 4] < 0x80);
    const answer = this.onsurvey(message.subarray(end));
    if (answer !== undefined) this.transmit(join(message.subarray(0, end), bytes(answer)));
  }
}
