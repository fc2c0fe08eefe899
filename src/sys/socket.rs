//! Messages with descriptors over AF_UNIX sockets.
