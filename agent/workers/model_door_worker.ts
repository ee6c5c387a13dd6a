/** The thread that gives files of models to other nodes: encryption and copies of hundreds of gigabytes leave the agent's own thread alone. */
import { parentPort, workerData } from 'node:worker_threads';
import { ModelDoor } from './model_door.ts';
import type { ModelDoorSettings, ToModelDoor } from './model_door_messages.ts';

const door = new ModelDoor(workerData as ModelDoorSettings, (report) => parentPort?.postMessage(report));

parentPort?.on('message', (message: ToModelDoor) => {
  switch (message.kind) {
    case 'issuers':
      door.setIssuers(message.issuers);
      return;
    case 'models':
      door.setModels(message.models);
      return;
    case 'tls':
      door.setTls(message.tls);
      return;
    case 'stop':
      door.stop();
      parentPort?.close();
  }
});
door.start();
