//! Reservations as bytes, a second time: this suite must not share a mistake with the target that it judges.
//!
//! Numbers are those of SPC-4 §6.15, §6.16 and §7.6.4.6.

/// REGISTER.
pub(super) const REGISTER: u8 = 0x00;
/// RESERVE.
pub(super) const RESERVE: u8 = 0x01;
/// RELEASE.
pub(super) const RELEASE: u8 = 0x02;
/// CLEAR.
pub(super) const CLEAR: u8 = 0x03;
/// PREEMPT.
pub(super) const PREEMPT: u8 = 0x04;
/// PREEMPT AND ABORT.
pub(super) const PREEMPT_AND_ABORT: u8 = 0x05;
/// REGISTER AND IGNORE EXISTING KEY.
pub(super) const REGISTER_AND_IGNORE: u8 = 0x06;
/// REGISTER AND MOVE.
pub(super) const REGISTER_AND_MOVE: u8 = 0x07;

/// READ KEYS.
pub(super) const READ_KEYS: u8 = 0x00;
/// READ RESERVATION.
pub(super) const READ_RESERVATION: u8 = 0x01;
/// REPORT CAPABILITIES.
pub(super) const REPORT_CAPABILITIES: u8 = 0x02;
/// READ FULL STATUS.
pub(super) const READ_FULL_STATUS: u8 = 0x03;

/// The types, by number.
pub(super) const TYPES: [u8; 6] = [1, 3, 5, 6, 7, 8];

/// CDB of PERSISTENT RESERVE IN.
pub(super) fn reserve_in(action: u8, allocation: u16) -> [u8; 16] {
    let [high, low] = allocation.to_be_bytes();
    pad([0x5e, action, 0, 0, 0, 0, 0, high, low, 0])
}

/// CDB of PERSISTENT RESERVE OUT; `scope_type` is byte 2.
pub(super) fn reserve_out(action: u8, scope_type: u8, list_len: usize) -> [u8; 16] {
    let [a, b, c, d] = u32::try_from(list_len).unwrap_or(u32::MAX).to_be_bytes();
    pad([0x5f, action, scope_type, 0, 0, a, b, c, d, 0])
}

/// A shorter CDB, filled up with zeros.
pub(super) fn pad<const N: usize>(cdb: [u8; N]) -> [u8; 16] {
    let mut out = [0; 16];
    out.iter_mut().zip(cdb).for_each(|(to, from)| *to = from);
    out
}

/// Bits of byte 20 of the basic list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListFlags {
    pub(super) aptpl: bool,
    pub(super) all_target_ports: bool,
}

/// The list of every service action but REGISTER AND MOVE; with `ports` SPEC_I_PT is one.
pub(super) fn basic_list(key: u64, action_key: u64, flags: ListFlags, ports: Option<&[Vec<u8>]>) -> Vec<u8> {
    let mut list = vec![0; 24];
    put(&mut list, 0, &key.to_be_bytes());
    put(&mut list, 8, &action_key.to_be_bytes());
    let byte =
        u8::from(ports.is_some()) * 0x08 + u8::from(flags.all_target_ports) * 0x04 + u8::from(flags.aptpl);
    put(&mut list, 20, &[byte]);
    if let Some(ports) = ports {
        let len: usize = ports.iter().map(Vec::len).sum();
        list.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        ports.iter().for_each(|port| list.extend(port));
    }
    list
}

/// The list of REGISTER AND MOVE.
pub(super) fn move_list(
    key: u64,
    action_key: u64,
    unregister: bool,
    aptpl: bool,
    port: u16,
    id: &[u8],
) -> Vec<u8> {
    let mut list = vec![0; 24];
    put(&mut list, 0, &key.to_be_bytes());
    put(&mut list, 8, &action_key.to_be_bytes());
    put(&mut list, 17, &[u8::from(unregister) * 2 + u8::from(aptpl)]);
    put(&mut list, 18, &port.to_be_bytes());
    put(&mut list, 20, &u32::try_from(id.len()).unwrap_or(u32::MAX).to_be_bytes());
    list.extend(id);
    list
}

fn put(list: &mut [u8], at: usize, bytes: &[u8]) {
    list.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

/// TransportID of an iSCSI initiator port: format 01b, name, `,i,0x`, ISID, NUL, padded to a multiple of four.
pub(super) fn transport_id(name: &str, isid: [u8; 6]) -> Vec<u8> {
    let digits: String = isid.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = format!("{name},i,0x{digits}\0").into_bytes();
    while text.len() < 20 || text.len() % 4 != 0 {
        text.push(0);
    }
    let [high, low] = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
    [vec![0x45, 0, high, low], text].concat()
}

/// A number of `len` bytes at `at`; `None` past the end.
pub(super) fn number(data: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = data.get(at..at.checked_add(len)?)?;
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// PRGENERATION and what follows the header, which must be as long as ADDITIONAL LENGTH says.
pub(super) fn body(data: &[u8]) -> Result<(u32, &[u8]), String> {
    let cut = || format!("{} bytes are too few for a header", data.len());
    let generation = number(data, 0, 4).ok_or_else(cut)?;
    let additional = number(data, 4, 4).ok_or_else(cut)?;
    let rest = data.get(8..).unwrap_or_default();
    if usize::try_from(additional).ok() != Some(rest.len()) {
        return Err(format!("ADDITIONAL LENGTH is {additional}, but {} bytes follow the header", rest.len()));
    }
    Ok((u32::try_from(generation).unwrap_or_default(), rest))
}

/// READ KEYS: PRGENERATION and the keys, sorted.
pub(super) fn keys(data: &[u8]) -> Result<(u32, Vec<u64>), String> {
    let (generation, rest) = body(data)?;
    if rest.len() % 8 != 0 {
        return Err(format!("{} bytes of keys are not a multiple of eight", rest.len()));
    }
    let mut keys: Vec<u64> = rest.chunks(8).filter_map(|key| number(key, 0, 8)).collect();
    keys.sort_unstable();
    Ok((generation, keys))
}

/// READ RESERVATION: the holder's key with scope and type, if there is a reservation.
pub(super) fn reservation(data: &[u8]) -> Result<Option<(u64, u8)>, String> {
    let (_, rest) = body(data)?;
    match rest.len() {
        0 => Ok(None),
        16 => {
            let at = |at, len| number(rest, at, len).unwrap_or_default();
            if at(8, 4) != 0 || at(12, 1) != 0 || at(14, 2) != 0 {
                return Err(format!("obsolete or reserved bytes are not zero: {rest:02x?}"));
            }
            Ok(Some((at(0, 8), u8::try_from(at(13, 1)).unwrap_or_default())))
        }
        other => Err(format!("a reservation of {other} bytes; it has 16")),
    }
}

/// A descriptor of READ FULL STATUS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Registration {
    /// Name and ISID as text, in lower case.
    pub(super) port: String,
    pub(super) key: u64,
    /// Scope and type, of a holder.
    pub(super) holds: Option<u8>,
    pub(super) all_target_ports: bool,
    pub(super) target_port: u16,
}

/// READ FULL STATUS: all descriptors, sorted by port.
pub(super) fn full_status(data: &[u8]) -> Result<Vec<Registration>, String> {
    let (_, mut rest) = body(data)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let cut = || format!("a descriptor is cut: {} bytes are left", rest.len());
        let at = |at, len| number(rest, at, len).ok_or_else(cut);
        let id_len = usize::try_from(at(20, 4)?).unwrap_or(usize::MAX);
        let end = 24_usize.checked_add(id_len).ok_or_else(cut)?;
        let id = rest.get(24..end).ok_or_else(cut)?;
        let flags = at(12, 1)?;
        if at(8, 4)? != 0 || flags & 0xfc != 0 || at(14, 4)? != 0 {
            return Err(format!("reserved bytes of a descriptor are not zero: {:02x?}", rest.get(..24)));
        }
        let scope_type = u8::try_from(at(13, 1)?).unwrap_or_default();
        all.push(Registration {
            port: port_text(id)?,
            key: at(0, 8)?,
            holds: (flags & 1 != 0).then_some(scope_type),
            all_target_ports: flags & 2 != 0,
            target_port: u16::try_from(at(18, 2)?).unwrap_or_default(),
        });
        rest = rest.get(end..).unwrap_or_default();
    }
    all.sort();
    Ok(all)
}

/// The text of an iSCSI TransportID.
fn port_text(id: &[u8]) -> Result<String, String> {
    let wrong = |what: &str| Err(format!("a TransportID {what}: {id:02x?}"));
    let (Some(first), Some(len)) = (id.first(), number(id, 2, 2)) else { return wrong("is cut") };
    if *first != 0x45 {
        return wrong("is not that of an iSCSI initiator port (45h)");
    }
    let text = id.get(4..).unwrap_or_default();
    if usize::try_from(len).ok() != Some(text.len()) || text.len() % 4 != 0 || text.len() < 20 {
        return wrong("has a wrong ADDITIONAL LENGTH");
    }
    let Some(end) = text.iter().position(|byte| *byte == 0) else { return wrong("is not ended by NUL") };
    Ok(String::from_utf8_lossy(text.get(..end).unwrap_or_default()).to_lowercase())
}

/// REPORT CAPABILITIES.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Capabilities {
    /// RLR_C.
    pub replace_lost: bool,
    /// CRH.
    pub compatible_handling: bool,
    /// SIP_C.
    pub specify_initiator_ports: bool,
    /// ATP_C.
    pub all_target_ports: bool,
    /// PTPL_C.
    pub persist_capable: bool,
    /// PTPL_A.
    pub persist_active: bool,
    /// ALLOW COMMANDS.
    pub allow_commands: u8,
    /// Types of the mask; all six when TMV is zero and nothing is known.
    pub types: Vec<u8>,
}

/// Reads REPORT CAPABILITIES.
pub(super) fn capabilities(data: &[u8]) -> Result<Capabilities, String> {
    let [0, 8, features, modes, low, high, 0, 0] = *data else {
        return Err(format!("not eight bytes with LENGTH 0008h and zeros at the end: {data:02x?}"));
    };
    let mask =
        [(1, low, 0x02), (3, low, 0x08), (5, low, 0x20), (6, low, 0x40), (7, low, 0x80), (8, high, 0x01)];
    let valid = modes & 0x80 != 0;
    Ok(Capabilities {
        replace_lost: features & 0x80 != 0,
        compatible_handling: features & 0x10 != 0,
        specify_initiator_ports: features & 0x08 != 0,
        all_target_ports: features & 0x04 != 0,
        persist_capable: features & 0x01 != 0,
        persist_active: modes & 0x01 != 0,
        allow_commands: modes >> 4 & 7,
        types: mask
            .into_iter()
            .filter(|(_, byte, bit)| !valid || byte & bit != 0)
            .map(|(kind, ..)| kind)
            .collect(),
    })
}
