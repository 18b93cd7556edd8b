//! What the compiler knows of public types and programs rely on: which may be sent to other threads, which
//! may be shared between them, which futures can be polled without pinning, and that all can be printed.

use std::error::Error;
use std::fmt::Debug;

use sinew::device::{
    DeviceError, DeviceFailure, DeviceFault, DeviceSide, DeviceStats, SpawnedDevice,
};
use sinew::metrics::{EndpointSnapshot, Metrics, Observe, Snapshot};
use sinew::role::{Answers, Asks, Converses, Receives, Role, Sends};
use sinew::transport::{
    Address, BoundFile, Destination, EndpointSettings, Family, Framing, GivenListener, GivenStream,
    Ipc, Listener, Stream, StreamPeer, StreamTransport, Target, Tcp,
};
use sinew::*;

fn shared<T: Send + Sync + Debug + ?Sized>() {}
fn sent<T: Send + Debug>() {}
fn error<T: Error + Send + Sync + 'static>() {}
fn future<T: Future + Send + Sync + Unpin + Debug + 'static>() {}

/// Asks the same of each type.
macro_rules! each {
    ($check:ident: $($type:ty),* $(,)?) => {
        $($check::<$type>();)*
    };
}

#[test]
fn sockets_contexts_and_what_they_hand_out_may_be_shared_by_threads() {
    each!(shared: Pair, Pair1, PolyPair1, Req, Rep, Push, Pull, Pub, Sub, Bus, Surveyor, Respondent);
    each!(shared: raw::Pair, raw::Pair1, raw::Push, raw::Pull, raw::Pub, raw::Sub, raw::Bus);
    each!(shared: raw::Req, raw::Rep, raw::Surveyor, raw::Respondent);
    each!(shared: ReqContext, RepContext, SubContext, SurveyorContext, RespondentContext);
    each!(shared: Request, Question, Survey, Endpoint, Events, Readiness, Poller, Runtime, EventLoop);
    each!(shared: DeviceHandle, DeviceSide, SpawnedDevice, Metrics<'_>, dyn Observe, dyn AnySocket);
    each!(shared: iter::Iter<'_, Pull>, iter::TryIter<'_, Pull>, iter::IntoIter<Pull>);
    each!(shared: dyn StreamTransport, dyn Listener, dyn Stream);
    each!(sent: Device, RuntimeBuilder);
    each!(shared: GivenListener, GivenStream);
}

#[test]
fn what_is_plain_data_may_be_shared_by_threads() {
    each!(shared: Message, PipeId, Options, EndpointOptions, Settings, Overflow, Stats, Spins, DropReason, ProtocolId);
    each!(shared: Peer, PeerStatus, PeerCredentials, PeerIdentity, QueueStatus, PipeEvent, PipeEventKind);
    each!(shared: EndpointId, EndpointState, EndpointStatus, Snapshot, EndpointSnapshot, DeviceStats);
    each!(shared: Address, BoundFile, EndpointSettings, Family, Framing, Destination, StreamPeer, Target, Tcp, Ipc);
}

#[test]
fn errors_can_be_handed_to_whoever_asks() {
    each!(error: SendError, RecvError, RequestError, ReplyError<Request>, ReplyError<Question>);
    each!(error: AddressError, BindError, ConnectError, AttemptError, HeaderError, OptionError);
    each!(error: RuntimeError, WaitError, UnsubscribeError, Closed, NoSuchPipe, DetachReason, TlsError);
    each!(error: KeyInUse<String>, NoSuchKey<String>);
    each!(error: DeviceError<(raw::Req, raw::Rep)>, DeviceFailure, DeviceFault);
}

#[test]
#[cfg(feature = "tls")]
fn what_a_program_says_of_tls_may_be_shared_by_threads() {
    each!(shared: tls::TlsConfig, tls::TlsConfigBuilder, transport::TlsTcp);
    each!(error: tls::TlsConfigError);
}

#[test]
fn futures_with_names_need_no_pinning_and_may_move_between_threads() {
    each!(future: Sending<Pair>, Replying<Request>, Replying<Question>, Requesting);
    fn may_move<T: Future + Send + Unpin + Debug + 'static>() {}
    may_move::<SendingAnswer>();
}

#[test]
#[cfg(feature = "futures")]
fn streams_and_sinks_may_move_between_threads() {
    fn moves<T: Send + Unpin + Debug + 'static>() {}
    each!(moves: RecvStream<Message>, RecvStream<Request>, RecvStream<Question>, SendSink<Push>);
}

/// Those without a name.
#[test]
fn every_future_may_move_between_threads_and_borrows_nothing() {
    fn moves<T: Future + Send + 'static>(_: T) {}
    let (pull, rep, surveyor) = (Pull::new(), Rep::new(), Surveyor::new());
    moves(pull.recv_async());
    moves(pull.wait_for_peers_async(1));
    moves(rep.recv_async());
    moves(rep.context().recv_async());
    moves(Req::new().context().recv_async());
    moves(surveyor.survey("q").unwrap().recv_async());
    moves(surveyor.context().recv_async());
    moves(Sub::new().context().recv_async());
}

/// What a program writes over any socket, without knowing its role.
#[test]
fn functions_over_roles_can_send_sockets_and_futures_to_other_threads() {
    fn named<R: Role>(socket: Socket<R>) -> String {
        std::thread::spawn(move || socket.name().to_owned()).join().unwrap()
    }
    fn received<R: Receives>(socket: &Socket<R>) -> impl Future + Send + 'static + use<R> {
        socket.recv_async()
    }
    fn both<R: Sends + Receives>(socket: &Socket<R>) -> (Sending<Socket<R>>, Option<R::Item>) {
        (socket.send_async("x"), socket.try_iter().next())
    }
    fn asked<R: Answers>(socket: &Socket<R>) -> (Context<R>, Option<Asked<R>>) {
        (socket.context(), socket.try_recv().ok())
    }
    fn ask<R: Asks>(socket: &Socket<R>) -> Result<Context<R>, SendError> {
        let context = socket.context();
        context.send("x").map(|()| context)
    }
    fn heard<R: Converses>(context: &Context<R>) -> Result<Message, RecvError> {
        context.try_recv()
    }
    assert!(named(Req::new()).starts_with("req-"));
    drop(received(&Rep::new()));
    let (_, nothing) = both(&raw::Req::new());
    assert!(nothing.is_none());
    let (context, _) = asked(&Respondent::new());
    assert_eq!(heard(&context), Err(RecvError::WouldBlock));
    assert_eq!(heard(&ask(&Req::new()).unwrap()), Err(RecvError::WouldBlock));
    let inlets: [&dyn PollRecv; 3] = [&Pull::new(), &context, &Sub::new().context()];
    let poller = Poller::new();
    for (key, inlet) in inlets.into_iter().enumerate() {
        poller.add_recv(key, inlet).unwrap();
    }
}
