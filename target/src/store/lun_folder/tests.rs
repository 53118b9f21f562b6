//! The state folder of a LUN: kept, moved, copied, damaged, locked.

use super::*;

const ONE: [u8; 8] = [0x11; 8];
const TWO: [u8; 8] = [0x22; 8];

fn image(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, name).unwrap();
    path
}

fn naa(location: &StateLocation, image: &Path, random: [u8; 8]) -> Naa {
    LunFolder::open(location, image, random).unwrap().identity().naa
}

#[test]
fn an_identity_is_made_once_and_then_kept_in_both_locations() {
    let dir = tempfile::tempdir().unwrap();
    for location in [StateLocation::BesideImage, StateLocation::Folder(dir.path().join("a/state"))] {
        let image = image(dir.path(), "disk.raw");
        let _ = std::fs::remove_dir_all(dir.path().join("disk.raw.lunkeep"));
        assert_eq!(LunFolder::peek(&location, &image).unwrap(), None);
        let first = naa(&location, &image, ONE);
        assert_eq!(first, Naa::from_random(ONE));
        assert_eq!(naa(&location, &image, TWO), first);
        assert_eq!(LunFolder::peek(&location, &image).unwrap().unwrap().naa, first);
        std::fs::write(&image, "replaced by another file's content").unwrap();
        assert_eq!(naa(&location, &image, TWO), first);
    }
}

#[test]
fn an_image_that_is_replaced_at_its_path_keeps_its_identity() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(dir.path(), "disk.raw");
    let first = naa(&StateLocation::BesideImage, &path, ONE);
    let other = image(dir.path(), "converted.raw");
    std::fs::rename(other, &path).unwrap();
    assert_eq!(naa(&StateLocation::BesideImage, &path, TWO), first);
}

#[test]
fn two_images_of_the_same_name_in_one_state_folder_have_two_identities() {
    let dir = tempfile::tempdir().unwrap();
    let location = StateLocation::Folder(dir.path().join("state"));
    for name in ["a", "b"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let a = naa(&location, &image(&dir.path().join("a"), "disk.raw"), ONE);
    let b = naa(&location, &image(&dir.path().join("b"), "disk.raw"), TWO);
    assert_ne!(a, b);
}

#[test]
fn an_identity_moves_with_its_image() {
    let dir = tempfile::tempdir().unwrap();
    let old = image(dir.path(), "old.raw");
    let first = naa(&StateLocation::BesideImage, &old, ONE);
    let new = dir.path().join("new.raw");
    std::fs::rename(&old, &new).unwrap();
    std::fs::rename(dir.path().join("old.raw.lunkeep"), dir.path().join("new.raw.lunkeep")).unwrap();
    image(dir.path(), "old.raw");
    let folder = LunFolder::open(&StateLocation::BesideImage, &new, TWO).unwrap();
    assert_eq!(folder.identity().naa, first);
    assert_eq!(folder.identity().image, new.canonicalize().unwrap().to_str().unwrap());
}

#[test]
fn an_identity_copied_with_its_image_is_refused_while_the_original_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let original = image(dir.path(), "one.raw");
    let first = naa(&StateLocation::BesideImage, &original, ONE);
    let copy = image(dir.path(), "two.raw");
    std::fs::create_dir(dir.path().join("two.raw.lunkeep")).unwrap();
    std::fs::copy(
        dir.path().join("one.raw.lunkeep/identity.json"),
        dir.path().join("two.raw.lunkeep/identity.json"),
    )
    .unwrap();

    let error = LunFolder::open(&StateLocation::BesideImage, &copy, TWO).unwrap_err();
    assert!(matches!(error, StoreError::Copied { .. }), "{error}");
    assert!(
        error.to_string().contains("two.raw.lunkeep") && error.to_string().contains("one.raw"),
        "{error}"
    );
    assert!(matches!(LunFolder::peek(&StateLocation::BesideImage, &copy), Err(StoreError::Copied { .. })));

    std::fs::remove_file(&original).unwrap();
    assert_eq!(naa(&StateLocation::BesideImage, &copy, TWO), first);
}

#[test]
fn a_state_folder_given_later_takes_over_the_identity_from_beside_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), "disk.raw");
    let first = naa(&StateLocation::BesideImage, &image, ONE);
    assert_eq!(naa(&StateLocation::Folder(dir.path().join("state")), &image, TWO), first);
}

#[test]
fn a_damaged_identity_is_an_error_that_names_the_file_and_makes_no_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), "disk.raw");
    naa(&StateLocation::BesideImage, &image, ONE);
    let file = dir.path().join("disk.raw.lunkeep/identity.json");
    let text = std::fs::read_to_string(&file).unwrap();
    for bad in [String::new(), text[..text.len() / 2].to_owned(), text.replace("3111", "3112")] {
        std::fs::write(&file, &bad).unwrap();
        let error = LunFolder::open(&StateLocation::BesideImage, &image, TWO).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("identity.json"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), bad, "the file is left as it was");
    }
}

#[test]
fn a_folder_is_open_once_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), "disk.raw");
    let held = LunFolder::open(&StateLocation::BesideImage, &image, ONE).unwrap();
    let error = LunFolder::open(&StateLocation::BesideImage, &image, ONE).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    drop(held);
    naa(&StateLocation::BesideImage, &image, ONE);
}

#[test]
fn a_device_needs_a_state_folder() {
    let error = LunFolder::open(&StateLocation::BesideImage, Path::new("/dev/null"), ONE).unwrap_err();
    assert!(matches!(error, StoreError::NeedsStateFolder { .. }), "{error}");
}

#[test]
fn the_first_name_of_a_target_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(dir.path(), "disk.raw");
    let folder = LunFolder::open(&StateLocation::BesideImage, &image, ONE).unwrap();
    assert_eq!(folder.target_name("iqn.2026-11.org.lunkeep:one").unwrap(), "iqn.2026-11.org.lunkeep:one");
    assert_eq!(folder.target_name("iqn.2026-11.org.lunkeep:two").unwrap(), "iqn.2026-11.org.lunkeep:one");
}
