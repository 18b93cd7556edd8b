//! What each protocol does with messages: which peer gets them, and what becomes of them without room.

mod bus;
mod conflate;
mod contexts;
mod overflow;
mod pair;
mod pair1;
mod pair_newcomers;
mod pipeline;
mod pipeline_requeue;
mod priorities;
mod pubsub;
mod raw;
mod reqrep;
mod sub_queue;
mod survey;
