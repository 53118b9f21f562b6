//! Image formats as a whole: power cuts, concurrency, cases of each format that the tests make themselves.

#[path = "images"]
mod images {
    mod blind;
    mod chains;
    mod commands;
    mod crashes;
    mod edits;
    mod families;
    mod flushes;
    mod interrupted;
    mod killed;
    mod libvhdi;
    mod model;
    mod operations;
    mod qcow2;
    mod qemu;
    mod vhd_cases;
    mod vhd_file;
    mod vhdx_crashes;
    mod vhdx_malformed;
    mod vhdx_qemu;
    mod vhdx_ring;
}
