//! The calls of nanomsg.

mod address;
mod device;
mod message;
mod options;
mod poll;
mod socket;
mod statistics;
mod symbols;

pub use device::nn_device;
pub use message::{
    nn_allocmsg, nn_cmsg_nxthdr_, nn_cmsghdr, nn_freemsg, nn_iovec, nn_msghdr, nn_reallocmsg,
    nn_recv, nn_recvmsg, nn_send, nn_sendmsg,
};
pub use options::{nn_getsockopt, nn_setsockopt};
pub use poll::{nn_poll, nn_pollfd};
pub use socket::{
    nn_bind, nn_close, nn_connect, nn_errno, nn_shutdown, nn_socket, nn_strerror, nn_term,
};
pub use statistics::nn_get_statistic;
pub use symbols::{nn_symbol, nn_symbol_info, nn_symbol_properties};
