// A bot on the official SDK for Node; see bots.py for what it reads and writes.
const lark = require('@larksuiteoapi/node-sdk');

const [domain, appId, appSecret] = process.argv.slice(2);
const tell = (what) => process.stdout.write(JSON.stringify(what) + '\n');
const silent = { error() {}, warn() {}, info() {}, debug() {}, trace() {} };
const client = new lark.Client({ appId, appSecret, domain, logger: silent });

const eventDispatcher = new lark.EventDispatcher({ logger: silent }).register({
  'im.message.receive_v1': async ({ message }) => {
    const { text } = JSON.parse(message.content);
    tell({ got: message.message_id, text });
    if (text.startsWith('long')) await new Promise((resolve) => setTimeout(resolve, 4000));
    const data = { msg_type: 'text', content: JSON.stringify({ text }) };
    await client.im.v1.message.reply({ path: { message_id: message.message_id }, data }).catch(() => {});
  },
  'card.action.trigger': async ({ action }) => {
    tell({ pressed: action.value });
    return { toast: { type: 'info', content: 'seen' } };
  },
});

const connection = new lark.WSClient({ appId, appSecret, domain, logger: silent });
process.on('SIGTERM', () => {
  connection.close();
  setTimeout(() => process.exit(0), 200);
});
connection.start({ eventDispatcher });
tell({ pid: process.pid });
