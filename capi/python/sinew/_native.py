"""The shared library, by ctypes: the calls of sinew.h that this package uses."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

# SINEW_LIBRARY is for tests of a library that is not in the package.
_path = os.environ.get("SINEW_LIBRARY") or str(Path(__file__).with_name("libsinew.so"))
library = ctypes.CDLL(_path)


class Peer(Structure):
    _fields_ = [
        ("pipe", c_uint32),
        ("outgoing", c_int),
        ("pid", c_uint32),
        ("messages_sent", c_uint64),
        ("messages_received", c_uint64),
        ("send_queue", c_uint64),
        ("recv_queue", c_uint64),
        ("dropped", c_uint64),
        ("remote", c_char * 128),
    ]


class Event(Structure):
    _fields_ = [("kind", c_int), ("pipe", c_uint32), ("remote", c_char * 128), ("reason", c_char * 128)]


def _declare(name: str, result: Any, *arguments: Any) -> None:
    call = getattr(library, name)
    call.restype = result
    call.argtypes = arguments


_handle = c_void_p
_place = POINTER(c_void_p)

_declare("sinew_error", c_char_p)
_declare("sinew_socket_open", c_int, c_int, _place)
_declare("sinew_socket_close", c_int, _handle)
_declare("sinew_socket_free", None, _handle)
_declare("sinew_bind", c_int, _handle, c_char_p, c_char_p, c_size_t)
_declare("sinew_connect", c_int, _handle, c_char_p)
_declare("sinew_connect_now", c_int, _handle, c_char_p)
_declare("sinew_endpoint_close", c_int, _handle, c_char_p)
_declare("sinew_wait_for_peers", c_int, _handle, c_size_t, c_int)
_declare("sinew_send", c_int, _handle, c_char_p, c_size_t, c_int)
_declare("sinew_recv", c_int, _handle, _place, c_int)
_declare("sinew_subscribe", c_int, _handle, c_char_p, c_size_t)
_declare("sinew_unsubscribe", c_int, _handle, c_char_p, c_size_t)
_declare("sinew_drain", c_size_t, _handle, c_int)
_declare("sinew_recv_fd", c_int, _handle, POINTER(c_int))
_declare("sinew_send_fd", c_int, _handle, POINTER(c_int))
_declare("sinew_set", c_int, _handle, c_int, c_int64)
_declare("sinew_get", c_int, _handle, c_int, POINTER(c_int64))
_declare("sinew_message_data", c_void_p, _handle)
_declare("sinew_message_size", c_size_t, _handle)
_declare("sinew_message_free", None, _handle)
_declare("sinew_request_send", c_int, _handle, c_char_p, c_size_t, _place, c_int)
_declare("sinew_request_recv", c_int, _handle, _place, c_int)
_declare("sinew_request_data", c_void_p, _handle)
_declare("sinew_request_size", c_size_t, _handle)
_declare("sinew_request_pipe", c_uint32, _handle)
_declare("sinew_request_reply", c_int, _handle, c_char_p, c_size_t)
_declare("sinew_request_free", None, _handle)
_declare("sinew_survey_send", c_int, _handle, c_char_p, c_size_t, _place)
_declare("sinew_survey_recv", c_int, _handle, _place, c_int)
_declare("sinew_survey_recv_fd", c_int, _handle, POINTER(c_int))
_declare("sinew_survey_free", None, _handle)
_declare("sinew_context_open", c_int, _handle, _place)
_declare("sinew_context_send", c_int, _handle, c_char_p, c_size_t)
_declare("sinew_context_recv", c_int, _handle, _place, c_int)
_declare("sinew_context_recv_fd", c_int, _handle, POINTER(c_int))
_declare("sinew_context_free", None, _handle)
_declare("sinew_peers", c_size_t, _handle, POINTER(Peer), c_size_t)
_declare("sinew_disconnect", c_int, _handle, c_uint32)
_declare("sinew_stat", c_int, _handle, c_char_p, POINTER(c_uint64))
_declare("sinew_drops", c_uint64, _handle, c_int)
_declare("sinew_drop_reason", c_char_p, c_int)
_declare("sinew_metrics", c_size_t, _handle, c_char_p, c_size_t)
_declare("sinew_events_open", c_int, _handle, _place)
_declare("sinew_events_next", c_int, _handle, POINTER(Event), c_int)
_declare("sinew_events_free", None, _handle)

__all__ = ["Event", "Peer", "byref", "c_int", "c_int64", "c_uint64", "c_void_p", "library"]
