fn main() {
    let t = std::time::Instant::now();
    let mut c = awaitwhat::capture::Capture::load(16 << 20).unwrap_or_else(|e| {
        eprintln!("{e}");
        std::process::exit(1)
    });
    eprintln!("load {:?}", t.elapsed());
    let pid: u32 = std::env::args().nth(1).unwrap().parse().unwrap();
    let m = c.memory(pid).unwrap();
    eprintln!("memory {:?}", t.elapsed());
    for x in m.mappings().iter().take(40) {
        println!("{x:?}");
    }
    let mut b = [0u8; 8];
    awaitwhat::memory::Memory::read(&m, m.mappings()[0].start, &mut b).unwrap();
    println!("{b:?} {:?}", t.elapsed());
}
