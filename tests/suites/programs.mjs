// node's fetch and its http2 module; see programs.sh.
import http2 from 'node:http2';

const base = 'https://ok.test';
const check = async (feature, work) => {
    try {
        if (!(await work())) throw new Error('not what was expected');
        console.log(feature, 'ok');
    } catch (error) {
        console.log(feature, 'bad');
        console.error(feature, error);
    }
};

await check('get', async () => (await (await fetch(`${base}/status/200?get-node`)).text()) === 'as asked\n');
await check('post', async () => {
    const body = 'x'.repeat(1 << 20);
    return (await (await fetch(`${base}/echo?post-node`, { method: 'POST', body })).text()) === body;
});
await check('down', async () => (await (await fetch(`${base}/bytes/8000000?down-node`)).arrayBuffer()).byteLength === 8000000);
await check('sse', async () => {
    let text = '';
    for await (const piece of (await fetch(`${base}/stream/20?sse-node`)).body) text += Buffer.from(piece);
    return text.endsWith('data: 19\n\n');
});
await check('denied', async () => {
    const response = await fetch(`${base}/denied?denied-node`);
    return response.status === 403 && response.headers.get('x-httpjail') === 'deny';
});
await check('h2', () => new Promise((resolve, reject) => {
    const session = http2.connect(base);
    session.on('error', reject);
    let open = 20, good = true;
    for (let number = 0; number < 20; number++) {
        const stream = session.request({ ':path': `/bytes/${number}?h2-node` });
        let size = 0;
        stream.on('data', piece => size += piece.length);
        stream.on('error', reject);
        stream.on('end', () => {
            good &&= size === number;
            if (--open === 0) { session.close(); resolve(good); }
        });
    }
}));
