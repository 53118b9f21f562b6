//! QEMU and libiscsi as initiators against `serve`, for every format that is served: what a foreign client writes over iSCSI is in
//! the file, what is in the file is what it reads, and the files open elsewhere.

mod interop {
    mod chap;
    mod formats;
    mod large;
    mod libiscsi;
    mod qemu;
}
