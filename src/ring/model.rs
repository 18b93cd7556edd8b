//! A model of a ring, and the test that a ring behaves like it.
//!
//! Owns the random operations that the test applies to both.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;

use super::tests::{
    NO_BOUNDS, body, bounds, listed, pop, push_encoded, push_encoded_evicting, queued, receive,
    ring, wire,
};
use super::*;
use crate::message::Frame;
use crate::rounds::rounds;
use crate::stats::DropReason;
use crate::verdict::{Picked, Verdict};
use crate::wire::frame::Decoder;
use Framing::{Length, TypeAndLength};

/// What a ring promises, as simply as possible: a list of messages and a few flags.
struct Model {
    framing: Framing,
    bounds: Bounds,
    messages: VecDeque<ModelMessage>,
    asleep: bool,
    wants_room: bool,
    wants_silence: bool,
    closed: bool,
}

struct ModelMessage {
    payload: Vec<u8>,
    /// Its bytes on the wire yet to be consumed.
    left: Vec<u8>,
    begun: bool,
}

impl Model {
    fn new(framing: Framing, bounds: Bounds) -> Self {
        Self {
            framing,
            bounds,
            messages: VecDeque::new(),
            asleep: false,
            wants_room: false,
            wants_silence: false,
            closed: false,
        }
    }

    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| message.payload.len()).sum()
    }

    fn queued(&self) -> Queued {
        queued(self.messages.len() as u64, self.bytes() as u64)
    }

    fn full(&self) -> bool {
        let Bounds { messages, bytes } = self.bounds;
        !self.messages.is_empty() && (self.messages.len() >= messages || self.bytes() >= bytes)
    }

    fn add(&mut self, payload: &[u8]) -> Wake {
        self.messages.push_back(ModelMessage {
            payload: payload.to_vec(),
            left: wire(self.framing, &[], payload),
            begun: false,
        });
        Wake(std::mem::take(&mut self.asleep))
    }

    fn push(&mut self, payload: &[u8]) -> Result<Wake, PushRefusal> {
        match self.ask_room() {
            _ if self.closed => Err(PushRefusal::Closed),
            true => Ok(self.add(payload)),
            false => Err(PushRefusal::Full),
        }
    }

    /// The first `ahead` messages are in a run.
    fn push_evicting(&mut self, payload: &[u8], ahead: usize) -> (Result<Wake, PushRefusal>, u64) {
        if self.closed {
            return (Err(PushRefusal::Closed), 0);
        }
        let begun = self.messages.front().is_some_and(|message| message.begun);
        let kept = ahead + usize::from(begun);
        let mut evicted = 0;
        while self.full() && self.messages.len() > kept {
            self.messages.remove(kept);
            evicted += 1;
        }
        (Ok(self.add(payload)), evicted)
    }

    fn ask_room(&mut self) -> bool {
        self.wants_room = self.full();
        !self.wants_room
    }

    fn ask_drained(&mut self) -> bool {
        self.wants_silence = !self.messages.is_empty();
        !self.wants_silence
    }

    fn arm(&mut self) -> bool {
        self.asleep = self.messages.is_empty();
        self.asleep
    }

    fn pop(&mut self) -> Option<(Vec<u8>, Taken)> {
        if self.messages.front()?.begun {
            return None;
        }
        let payload = self.messages.pop_front()?.payload;
        let taken = self.taken(1, payload.len());
        Some((payload, taken))
    }

    fn pop_if(&mut self) -> (Option<Vec<u8>>, Taken) {
        let (mut messages, mut bytes) = (0, 0);
        while let Some(first) = self.messages.front().filter(|first| !first.begun) {
            let verdict = verdict(&first.payload);
            if verdict == Verdict::Leave {
                break;
            }
            messages += 1;
            bytes += first.payload.len();
            let message = self.messages.pop_front().unwrap();
            if verdict == Verdict::Take {
                return (Some(message.payload), self.taken(messages, bytes));
            }
        }
        (None, self.taken(messages, bytes))
    }

    fn wire(&self) -> Vec<u8> {
        self.messages.iter().flat_map(|message| message.left.clone()).collect()
    }

    fn consume(&mut self, mut n: usize) -> Taken {
        let (mut messages, mut bytes) = (0, 0);
        while n > 0 {
            let message = &mut self.messages[0];
            let step = n.min(message.left.len());
            message.left.drain(..step);
            message.begun = true;
            n -= step;
            if message.left.is_empty() {
                messages += 1;
                bytes += message.payload.len();
                self.messages.pop_front();
            }
        }
        self.taken(messages, bytes)
    }

    fn taken(&mut self, messages: u64, bytes: usize) -> Taken {
        let half = self.messages.len() <= self.bounds.messages / 2
            && self.bytes() <= self.bounds.bytes / 2;
        let room = messages > 0 && self.wants_room && half;
        let silence = messages > 0 && self.wants_silence && self.messages.is_empty();
        self.wants_room &= !room;
        self.wants_silence &= !silence;
        Taken { messages, bytes: bytes as u64, room: room || silence }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Push {
        header: usize,
        body: usize,
    },
    PushEvicting {
        header: usize,
        body: usize,
    },
    /// Push a message framed by an encoder. The `skipped` messages go to other rings only.
    PushEncoded {
        skipped: bool,
        evicting: bool,
        header: usize,
        body: usize,
    },
    Append(Vec<usize>),
    AppendShared(Vec<usize>),
    ReleaseMemory,
    AppendBody(usize),
    Consume(Index),
    Pop,
    PopIf,
    PopToEnd(bool),
    Arm,
    HasRoom,
    Drained,
    Close,
}

/// So many, or under Miri a third, since each takes it seconds.
fn some(many: usize) -> usize {
    if cfg!(miri) { many / 3 } else { many }
}

/// Under Miri, which copies slowly, none is very long.
fn lengths() -> impl Strategy<Value = usize> {
    let longest = if cfg!(miri) { 9000..10_000 } else { 60_000..70_000_usize };
    prop_oneof![
        8 => 0..20_usize,
        2 => 1000..5000_usize,
        1 => BY_REFERENCE - 2..BY_REFERENCE + 2,
        1 => longest,
    ]
}

fn operations() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        40 => (0..12_usize, lengths()).prop_map(|(header, body)| Push { header, body }),
        10 => (0..12_usize, lengths()).prop_map(|(header, body)| PushEvicting { header, body }),
        30 => (prop::bool::weighted(0.1), any::<bool>(), 0..12_usize, lengths()).prop_map(
            |(skipped, evicting, header, body)| PushEncoded { skipped, evicting, header, body }),
        10 => prop::collection::vec(lengths(), 1..6).prop_map(Append),
        5 => prop::collection::vec(lengths(), 1..6).prop_map(AppendShared),
        5 => Just(ReleaseMemory),
        5 => lengths().prop_map(AppendBody),
        25 => any::<Index>().prop_map(Consume),
        20 => Just(Pop),
        15 => Just(PopIf),
        10 => any::<bool>().prop_map(PopToEnd),
        10 => Just(Arm),
        5 => Just(HasRoom),
        5 => Just(Drained),
        1 => Just(Close),
    ]
}

/// A verdict that depends on the message's length and last byte.
fn verdict(message: &[u8]) -> Verdict {
    let last = message.last().copied().unwrap_or_default();
    match (message.len() + usize::from(last)) % 8 {
        0..3 => Verdict::Take,
        3..7 => Verdict::Skip(DropReason::NotSubscribed),
        _ => Verdict::Leave,
    }
}

/// The bytes of a message that is the `seed`th to be made.
fn bytes(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seed + i) as u8).collect()
}

/// The same bytes in two parts, and whole.
fn split(seed: usize, header: usize, body: usize) -> (Vec<u8>, Bytes, Vec<u8>) {
    let whole = bytes(seed, header + body);
    (whole[..header].to_vec(), Bytes::copy_from_slice(&whole[header..]), whole)
}

/// Apply one operation to the ring and to the model, and compare their answers.
fn compare(
    encoder: &mut Encoder,
    ring: &mut Producer,
    inbox: &mut Inbox,
    model: &mut Model,
    seed: usize,
    operation: Operation,
) {
    let ahead = inbox.ahead();
    match operation {
        Operation::Push { header, body } => {
            let (header, body, whole) = split(seed, header, body);
            assert_eq!(ring.push(&header, &body), model.push(&whole));
        }
        Operation::PushEvicting { header, body } => {
            let (header, body, whole) = split(seed, header, body);
            assert_eq!(ring.push_evicting(&header, &body), model.push_evicting(&whole, ahead));
        }
        Operation::PushEncoded { skipped, evicting, header, body } => {
            let (header, body, whole) = split(seed, header, body);
            let encoded = encoder.encode(Length, &header, &body);
            match (skipped, evicting) {
                (true, _) => {}
                (_, true) => {
                    let pushed = push_encoded_evicting(ring, &encoded);
                    assert_eq!(pushed, model.push_evicting(&whole, ahead))
                }
                _ => assert_eq!(push_encoded(ring, &encoded), model.push(&whole)),
            }
        }
        Operation::Append(lens) => {
            let (run, wake) = run(model, seed, &lens);
            assert_eq!(ring.append(&run, lens.len()), wake);
        }
        Operation::AppendShared(lens) => {
            let (run, wake) = run(model, seed, &lens);
            assert_eq!(ring.append_shared(run, lens.len()), wake);
        }
        Operation::AppendBody(len) => {
            let body = bytes(seed, len);
            assert_eq!(ring.append_body(body.clone().into()), model.add(&body));
        }
        // A ring that has given out a run is read by frames until that is over.
        Operation::Consume(_) if ahead > 0 => {}
        Operation::Consume(n) => consume(ring, model, n),
        Operation::Pop => assert!(flat(inbox.pop()) == model.pop()),
        Operation::PopIf => pop_if(inbox, model),
        Operation::PopToEnd(arms) => {
            let (popped, is_last) = inbox.pop_to_end(arms);
            assert!(flat(popped) == model.pop());
            if arms {
                assert_eq!(is_last, ahead == 0 && model.arm());
            } else {
                // As for one that arms, what is handed out of a run is never the last.
                assert!(is_last || ahead > 0 || !model.messages.is_empty());
            }
        }
        Operation::Arm => assert_eq!(inbox.arm(), model.arm()),
        Operation::HasRoom => assert_eq!(ring.ask_room(), model.ask_room()),
        Operation::Drained => assert_eq!(ring.ask_drained(), model.ask_drained()),
        Operation::ReleaseMemory => {
            assert_eq!(ring.release_memory(), model.messages.len() == ahead)
        }
        Operation::Close => {
            ring.close();
            model.closed = true;
        }
    }
    assert_eq!(ring.queued(), model.queued());
    assert_eq!(ring.is_closed(), model.closed);
}

/// Add messages of these lengths to the model. Returns their frames as one run, and whether to wake for it.
fn run(model: &mut Model, seed: usize, lens: &[usize]) -> (Bytes, Wake) {
    let framing = model.framing;
    let run: Vec<u8> = lens.iter().flat_map(|&len| wire(framing, &[], &bytes(seed, len))).collect();
    let mut woken = lens.iter().map(|&len| model.add(&bytes(seed, len)));
    let wake = woken.next().expect("a run has a frame");
    assert!(woken.all(|Wake(again)| !again), "the first has woken already");
    (run.into(), wake)
}

fn consume(ring: &Ring, model: &mut Model, n: Index) {
    let mut consumer = ring.consumer();
    let (listed, expected) = (listed(&mut consumer), model.wire());
    assert!(expected.starts_with(&listed), "the wire is as it should be");
    assert_eq!(listed.is_empty(), expected.is_empty());
    let n = n.index(listed.len() + 1);
    assert_eq!(consumer.consume(n), model.consume(n));
}

fn pop_if(inbox: &mut Inbox, model: &mut Model) {
    let judge = |head: &[u8], body: &[u8]| verdict(&[head, body].concat());
    let (picked, taken, is_asleep) = inbox.pop_if(judge);
    let is_nothing = matches!(picked, Picked::Nothing);
    let picked = match picked {
        Picked::Taken(frame) => Some(frame.into_body().to_vec()),
        Picked::Left | Picked::Nothing => None,
    };
    assert!((picked, taken) == model.pop_if());
    assert_eq!(is_asleep, is_nothing && model.arm());
}

/// What was popped, in the model's form.
fn flat(popped: Option<(Frame, Taken)>) -> Option<(Vec<u8>, Taken)> {
    popped.map(|(frame, taken)| (frame.into_body().to_vec(), taken))
}

fn any_bounds() -> impl Strategy<Value = Bounds> {
    prop_oneof![
        (0..6_usize, 0..40_usize).prop_map(|(messages, bytes)| bounds(messages, bytes)),
        (1..100_usize, 1..200_000_usize).prop_map(|(messages, bytes)| bounds(messages, bytes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds(256)))]

    #[test]
    fn a_ring_behaves_like_a_list_of_messages(
        framing in prop_oneof![Just(Length), Just(TypeAndLength)],
        bounds in any_bounds(),
        operations in prop::collection::vec(operations(), 0..some(60)),
    ) {
        let (mut ring, _) = new(framing, bounds);
        let mut inbox = Inbox::new(ring.ring().clone());
        let mut model = Model::new(framing, bounds);
        let mut encoder = Encoder::new();
        for (seed, operation) in operations.into_iter().enumerate() {
            compare(&mut encoder, &mut ring, &mut inbox, &mut model, seed, operation);
        }
    }

    #[test]
    fn whatever_a_stream_decodes_to_passes_through(
        payloads in prop::collection::vec(lengths().prop_map(body), 0..some(10)),
        read in 1..50_000_usize,
    ) {
        let stream: Vec<u8> = payloads.iter().flat_map(|p| wire(Length, &[], p)).collect();
        let mut ring = ring(NO_BOUNDS);
        receive(&mut ring, &mut Decoder::new(Length, None), &stream, read);
        for payload in payloads {
            prop_assert!(pop(&ring).unwrap() == payload);
        }
        prop_assert_eq!(pop(&ring), None);
    }
}
