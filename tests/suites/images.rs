//! Image formats as a whole: power cuts, concurrency, cases of each format that the tests make themselves.

#[path = "images"]
mod images {
    mod crashes;
    mod model;
    mod vhd_cases;
    mod vhd_file;
}
